"""The command `ssd data`: the commands about datasets, and the arguments of those that write one."""

import argparse
from collections.abc import Sequence

from ssd.commands.arguments import Parser
from ssd.commands.source import add_format
from ssd.commands.subcommands import Commands, run_command
from ssd.data.datasets import DetectionDataset
from ssd.tools.data.source import open_datasets

COMMANDS: Commands = {
    "check": ("ssd.commands.check_data", "list all mistakes in a dataset"),
    "browse": ("ssd.commands.data_browse", "draw training images next to their augmented samples"),
    "anchors": ("ssd.commands.priors", "show how anchors cover the training boxes, and fit them"),
    "split": ("ssd.commands.data_split", "split a dataset into parts for training and testing"),
    "convert": ("ssd.commands.data_convert", "write a dataset in another format"),
    "scenes": ("ssd.commands.data_scenes", "render the dataset of the quickstart"),
}


def main(args: Sequence[str]) -> int:
    """Run `ssd data`."""
    return run_command("ssd data", "Commands about datasets.", {"Commands": COMMANDS}, args)


def open_source(args: argparse.Namespace) -> tuple[dict[str, DetectionDataset], str]:
    """Open the datasets that the arguments of ``make_source_parser`` name."""
    options = {"config_file": args.config_file, "split": args.split, "format_name": args.format}
    return open_datasets(args.source, **options, on_error=args.on_error)


def make_source_parser(prog: str, description: str, example: str) -> Parser:
    """Build the parser of a command that reads a dataset, its only word, and writes another one."""
    words = ("SOURCE", "a folder, CONFIG.yaml:NAME, or the name of a dataset")
    parser = Parser(prog, description, example, words, keys=False)
    parser.add_config("config whose DATASETS.CUSTOM has the name")
    parser.add_flag("--split", "NAME", "split of the folder (default: all)")
    add_format(parser)
    help_text = "handling of mistakes in the data, as DATASETS.ON_ERROR (%(default)s)"
    parser.add_flag("--on-error", "KIND", help_text, default="raise", choices=("raise", "skip"))
    parser.add_output("a new folder", required=True)
    parser.add_flag("--link", "", "write symbolic links to the images instead of copies")
    return parser
