"""The command that renders the scenes of the quickstart, or sample images.

The images in ``demo/`` are those of ``ssd data scenes --demo demo --seed 140``.
"""

import argparse
import logging
import re
from collections.abc import Sequence

from ssd.commands.arguments import user_path
from ssd.tools.data.scenes import write_samples, write_scenes
from ssd.utils.errors import SSDError


def main(args: Sequence[str]) -> int:
    """Run `ssd data scenes`."""
    parser = argparse.ArgumentParser(prog="ssd data scenes", description="Write rendered scenes in VOC layout.")
    parser.add_argument("--output", default="datasets/scenes", type=user_path, metavar="FOLDER", help="for the dataset")
    parser.add_argument("--train", type=int, default=2400, metavar="N", help="number of training scenes")
    parser.add_argument("--test", type=int, default=200, metavar="N", help="number of test scenes")
    parser.add_argument("--size", type=_parse_size, default=(320, 240), metavar="WxH", help="image size in pixels")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the scenes")
    parser.add_argument("--demo", type=user_path, metavar="FOLDER", help="write six sample images there instead")
    parsed = parser.parse_args(args)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if parsed.demo is not None:
            write_samples(parsed.demo, seed=parsed.seed)
        else:
            write_scenes(
                parsed.output, num_train=parsed.train, num_test=parsed.test, image_size=parsed.size, seed=parsed.seed
            )
    except SSDError as error:
        parser.error(str(error))
    return 0


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT like 320x240, got {text!r}")
    return int(match[1]), int(match[2])
