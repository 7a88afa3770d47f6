"""The command that renders the scenes of the quickstart, or sample images.

The images in ``demo/`` are those of ``ssd data scenes --demo demo --seed 140``.
"""

import argparse
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from ssd.commands.arguments import Parser
from ssd.commands.run import run_script
from ssd.tools.data.scenes import write_samples, write_scenes


def main(args: Sequence[str]) -> int:
    """Run `ssd data scenes`."""
    return run_script(lambda: run(parse_args(args)))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Parse the command line after `ssd data scenes`."""
    parser = Parser("ssd data scenes", "Write rendered scenes in VOC layout.", "ssd data scenes", keys=False)
    parser.add_output("folder of the dataset", default=Path("datasets/scenes"))
    parser.add_flag("--train", "N", "number of training scenes", default=2400)
    parser.add_flag("--test", "N", "number of test scenes", default=200)
    parser.add_flag("--size", "WxH", "image size in pixels (320x240)", type=_parse_size, default=(320, 240))
    parser.add_flag("--seed", "N", "seed of the scenes", default=0)
    parser.add_flag("--demo", "FOLDER", "write six sample images there instead")
    parsed = parser.parse(args)
    parser.refuse_words(parsed)
    return parsed


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
