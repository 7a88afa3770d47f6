"""The command that renders the scenes of the quickstart, or sample images.

The images in ``demo/`` are those of ``ssd data scenes --demo demo --seed 140``.
"""

import argparse
import logging
import re
from collections.abc import Sequence

from ssd.commands.arguments import user_path
from ssd.commands.run import run_script
from ssd.tools.data.scenes import write_samples, write_scenes


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
    return run_script(lambda: run(parsed))


def run(args: argparse.Namespace) -> None:
    """Write the scenes or the samples."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.demo is not None:
        write_samples(args.demo, seed=args.seed)
    else:
        write_scenes(args.output, num_train=args.train, num_test=args.test, image_size=args.size, seed=args.seed)


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT like 320x240, got {text!r}")
    return int(match[1]), int(match[2])
