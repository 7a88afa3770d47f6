"""The command that writes a dataset in another format."""

import argparse
from collections.abc import Sequence

from ssd.commands.run import run_script
from ssd.tools.data.source import add_source_arguments, datasets_yaml, open_datasets, set_names
from ssd.tools.data.writers import FORMATS, collect_content, write_dataset
from ssd.tools.data.writers.write import check_output_folder
from ssd.utils.logger import setup_logger
from ssd.utils.terminal import say


def main(args: Sequence[str]) -> int:
    """Run `ssd data convert`."""
    parsed = parse_args(args)
    return run_script(lambda: run(parsed))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Read the command line behind `ssd data convert`."""
    parser = argparse.ArgumentParser(
        prog="ssd data convert", description="Write a dataset in another format; boxes stay what they are."
    )
    add_source_arguments(parser)
    parser.add_argument("--to", required=True, choices=FORMATS, help="the format to write")
    return parser.parse_args(args)


def run(args: argparse.Namespace) -> int:
    """Convert, say what became of it, and return 0.

    Raises:
        ConfigError, DatasetError: see ``open_datasets``.
        OutputError: the folder is not empty, or cannot be written.
    """
    setup_logger(None)
    check_output_folder(args.output)
    datasets, _ = open_datasets(args)
    content = collect_content(datasets)
    written = write_dataset(args.output, content, args.to, link=args.link)
    num_objects = sum(len(record.labels) for record in content.records)
    say(
        f"\n{args.output}: {len(content.records)} images, {num_objects} objects of {len(content.class_names)} classes, "
        f"{args.to}\n"
    )
    say("".join(f"Note: {note}\n" for note in written.notes))
    names = set_names(args.output, written.entries)
    say("\n" + datasets_yaml({names[part]: entry for part, entry in written.entries.items()}))
    return 0
