"""``python -m ssd.data.scenes``: write the rendered dataset, or sample images.

The images in ``demo/`` are those of ``python -m ssd.data.scenes --demo demo --seed 140``.
"""

import argparse
import logging
import re
from collections.abc import Sequence

from ssd.data.scenes.write import write_samples, write_scenes
from ssd.utils.errors import SSDError


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; ``argv`` None stands for the arguments of the process."""
    parser = argparse.ArgumentParser("python -m ssd.data.scenes", description="Write rendered scenes in VOC layout.")
    parser.add_argument("--output", default="datasets/scenes", help="folder of the dataset")
    parser.add_argument("--train", type=int, default=2400, metavar="N", help="number of training scenes")
    parser.add_argument("--test", type=int, default=200, metavar="N", help="number of test scenes")
    parser.add_argument("--size", type=_parse_size, default=(320, 240), metavar="WxH", help="image size in pixels")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other scenes")
    parser.add_argument("--demo", metavar="FOLDER", help="write six sample images there instead")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if args.demo is not None:
            write_samples(args.demo, seed=args.seed)
        else:
            write_scenes(args.output, num_train=args.train, num_test=args.test, image_size=args.size, seed=args.seed)
    except SSDError as error:
        parser.error(str(error))


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT like 320x240, got {text!r}")
    return int(match[1]), int(match[2])


if __name__ == "__main__":
    main()
