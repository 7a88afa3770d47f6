"""The command that draws training images next to their augmented samples."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssd.commands.arguments import Parser
from ssd.commands.run import run_script
from ssd.commands.source import SOURCE, add_format, load_source
from ssd.tools.data.browse import browse
from ssd.utils.errors import ConfigError
from ssd.utils.logger import say, setup_logger


def main(args: Sequence[str]) -> int:
    """Run `ssd data browse`."""
    return run_script(lambda: run(parse_args(args)))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Parse the command line after `ssd data browse`."""
    description = "Draw images of DATASETS.TRAIN or of a folder, each next to its augmented sample."
    parser = Parser("ssd data browse", description, "ssd data browse photos --num 32", SOURCE)
    add_format(parser)
    parser.add_output("folder of browse_01.jpg, ... (default: browse in OUTPUT_DIR)")
    parser.add_flag("--num", "N", "number of images", default=16)
    parser.add_flag("--show", "CLASS,...", "only images with an object of one of these classes", "--classes")
    parser.add_flag("--seed", "N", "seed of the samples", key="SOLVER.SEED")
    return parser.parse_word(args, "config", "FOLDER or CONFIG")


def run(args: argparse.Namespace) -> int:
    """Write the sheets, print their names, and return 0."""
    if args.num < 1:
        raise ConfigError(f"--num must be at least 1, got {args.num}")
    setup_logger(None)
    cfg = load_source(args)
    classes = [name.strip() for name in args.show.split(",")] if args.show is not None else []
    paths, num_images = browse(cfg, args.output or Path(cfg.OUTPUT_DIR, "browse"), args.num, classes)
    names = str(paths[0]) if len(paths) == 1 else f"{paths[0]} to {paths[-1].name}"
    say(f"Written: {names}: {num_images} images, each next to its first sample of the training\n")
    return 0
