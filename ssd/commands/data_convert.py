"""The command that writes a dataset in another format."""

import argparse
from collections.abc import Sequence

from ssd.commands.data import make_source_parser, open_source
from ssd.commands.run import run_script
from ssd.tools.data.content import collect_content
from ssd.tools.data.writers import FORMATS, check_output_folder, datasets_yaml, write_dataset
from ssd.utils.logger import say, setup_logger


def main(args: Sequence[str]) -> int:
    """Run `ssd data convert`."""
    return run_script(lambda: run(parse_args(args)))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Parse the command line after `ssd data convert`."""
    description = "Write a dataset in another format; the boxes stay the same."
    parser = make_source_parser("ssd data convert", description, "ssd data convert photos --to coco -o photos_coco")
    parser.add_flag("--to", "FORMAT", "the format to write", required=True, choices=FORMATS)
    return parser.parse_word(args, "source")


def run(args: argparse.Namespace) -> int:
    """Convert, print the section DATASETS that reads the result, and return 0."""
    setup_logger(None)
    check_output_folder(args.output)
    content = collect_content(open_source(args)[0])
    entries, notes = write_dataset(args.output, content, args.to, link=args.link)
    num_objects = sum(len(record.labels) for record in content.records)
    counts = f"{len(content.records)} images, {num_objects} objects of {len(content.class_names)} classes"
    say(f"\n{args.output}: {counts}, {args.to}\n" + "".join(f"Note: {note}\n" for note in notes))
    say("\n" + datasets_yaml(args.output, entries))
    return 0
