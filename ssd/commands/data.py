"""The command `ssd data`: the commands about datasets, and the arguments of those that write one."""

import argparse
import os
from collections.abc import Sequence

from ssd.commands.arguments import add_flag, user_path
from ssd.commands.source import add_format
from ssd.commands.subcommands import Commands, make_command_parser, run_command
from ssd.data.datasets import DetectionDataset
from ssd.tools.data.source import open_datasets

COMMANDS: Commands = {
    "browse": ("ssd.commands.data_browse", "draw training images beside their augmented samples"),
    "convert": ("ssd.commands.data_convert", "write a dataset in another format"),
    "scenes": ("ssd.commands.data_scenes", "render the dataset of the quickstart"),
    "split": ("ssd.commands.data_split", "divide a dataset into parts for training and testing"),
}


def main(args: Sequence[str]) -> int:
    """Run `ssd data`."""
    parser = make_command_parser("ssd data", "Draw, convert, render and split datasets.", COMMANDS)
    return run_command(parser, COMMANDS, args)


def open_source(args: argparse.Namespace) -> tuple[dict[str, DetectionDataset], str]:
    """Open the datasets that the arguments of ``make_source_parser`` name."""
    options = {"config_file": args.config_file, "split": args.split, "format_name": args.format}
    return open_datasets(args.source, **options, on_error=args.on_error)


def make_source_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """Build the parser of a command that reads a dataset and writes another one."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    help_text = "a folder, CONFIG.yaml:NAME, or the name of a dataset"
    parser.add_argument("source", type=os.path.expanduser, metavar="SOURCE", help=help_text)
    add_flag(parser, "--config-file", metavar="FILE", help="config whose DATASETS.CUSTOM has the name")
    add_flag(parser, "--split", metavar="NAME", help="split of the folder (default: all)")
    add_format(parser)
    help_text = "what happens to a mistake in the data, as DATASETS.ON_ERROR (default: raise)"
    add_flag(parser, "--on-error", default="raise", choices=("raise", "skip"), help=help_text)
    parser.add_argument("-o", "--output", required=True, type=user_path, metavar="FOLDER", help="a new folder")
    parser.add_argument("--link", action="store_true", help="write symbolic links to the images instead of copies")
    return parser
