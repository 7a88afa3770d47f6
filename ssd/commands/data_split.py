"""The command that splits a dataset into parts for training and testing."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssd.commands.arguments import user_path
from ssd.commands.data import make_source_parser, open_source
from ssd.commands.run import run_script
from ssd.config.files import base_text, find_config, shipped_config, similar_configs
from ssd.tools.data.content import Content, collect_content
from ssd.tools.data.near_duplicates import MAX_BITS, NUM_BITS
from ssd.tools.data.split import describe_groups, group_content, order_parts, parse_parts, split_content, table_of_parts
from ssd.tools.data.writers import FORMATS, check_output_folder, datasets_yaml, write_dataset
from ssd.utils.errors import ConfigError, OutputError, os_errors_as
from ssd.utils.files import atomic_write
from ssd.utils.logger import say, setup_logger

_PARTS = "train=0.8,test=0.2"


def main(args: Sequence[str]) -> int:
    """Run `ssd data split`."""
    return run_script(lambda: run(parse_args(args)))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Parse the command line after `ssd data split`."""
    description = (
        "Split a dataset into parts with the same mix of classes. A split that exists is kept. Versions of one "
        "photograph and near duplicates stay together."
    )
    parser = make_source_parser("ssd data split", description, "ssd data split photos -o datasets/mine")
    help_text = f"shares of the images; the first part is for training, the second for testing (default: {_PARTS})"
    parser.add_flag("--parts", "NAME=SHARE,...", help_text)
    parser.add_flag("--resplit", "", "split again what is split already, for example into train, valid and test")
    help_text = (
        f"largest number of different bits, of {NUM_BITS}, in the hashes of near duplicates (default: {MAX_BITS}); "
        "off = only versions of one photograph by their names (NAME.rf.HASH) stay together"
    )
    parser.add_flag("--near-duplicates", "BITS|off", help_text, type=_parse_bits, default=MAX_BITS)
    parser.add_flag("--seed", "N", "seed of the split", default=0)
    parser.add_flag("--to", "FORMAT", "the format to write (default: that of SOURCE)", choices=FORMATS)
    parser.add_flag("--write-config", "FILE", "also write a config that uses the parts, FILE.yaml")
    help_text = "the config that this one is based on (default: configs/modern/own_data.yaml)"
    parser.add_flag("--base", "CONFIG", help_text, type=user_path)
    return parser.parse_word(args, "source")


def run(args: argparse.Namespace) -> int:
    """Divide, print the content of each part, and return 0."""
    setup_logger(None)
    shares = parse_parts(_PARTS if args.parts is None else args.parts)
    check_output_folder(args.output)
    base = _find_base(args)
    datasets, source_format = open_source(args)
    content = collect_content(datasets)
    if kept := {} if args.resplit else order_parts(content.parts):
        content = replace(content, parts=kept)
        division = _describe_division(content, args)
    else:
        groups = group_content(content, args.near_duplicates)
        content = replace(content, parts=split_content(content, shares, args.seed, groups))
        division = _describe_groups(content, groups, args)
    format_name = args.to or source_format
    entries, notes = write_dataset(args.output, content, format_name, link=args.link)
    say(f"\n{args.output}: {len(content.records)} images, {format_name}\n")
    say(division)
    say("".join(f"Note: {note}\n" for note in notes) + "\n" + table_of_parts(content) + "\n")
    section = datasets_yaml(args.output, entries, with_roles=True)
    say(section)
    if base is not None:
        _write_config(args.write_config, base, section)
        name = args.write_config
        say(f"\nWritten: {name}\nNext: ssd train {name}\n      ssd test {name}\n")
        say(f"      ssd predict {name} FOLDER\n")
    return 0


def _parse_bits(text: str) -> int | None:
    if text != "off" and not (text.isdecimal() and int(text) <= NUM_BITS):
        raise argparse.ArgumentTypeError(f"expected a number of bits up to {NUM_BITS}, or off; got {text!r}")
    return None if text == "off" else int(text)


def _describe_groups(content: Content, groups: np.ndarray, args: argparse.Namespace) -> str:
    grouped = describe_groups(content, groups)
    measure = "off" if args.near_duplicates is None else args.near_duplicates
    return f"Kept together: {grouped} (--near-duplicates {measure})\n" if grouped else ""


def _describe_division(content: Content, args: argparse.Namespace) -> str:
    unused = "; --parts is not used" if args.parts else ""
    return f"The split of {args.source} is kept: {', '.join(content.parts)}{unused}. --resplit splits it again\n"


def _find_base(args: argparse.Namespace) -> Path | None:
    """The config that the written one is based on; None if none is written."""
    if args.write_config is None:
        if args.base is not None:
            raise ConfigError("--base goes with --write-config")
        return None
    if args.write_config.exists():
        raise ConfigError(f"--write-config {args.write_config} exists; name a new file")
    if args.write_config.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--write-config {args.write_config} must end in .yaml")
    base = find_config(args.base) if args.base else shipped_config("modern/own_data")
    if not base.is_file():
        raise ConfigError(f"--base {base} does not exist{similar_configs(base)}")
    return base


def _write_config(path: Path, base: Path, section: str) -> None:
    """Write a config that trains on the parts; paths of data are relative to the folder that training starts in."""
    text = f"_BASE_: {base_text(base, path)}\nMODEL:\n  NUM_CLASSES: 0\n{section}OUTPUT_DIR: outputs/{path.stem}\n"
    with os_errors_as(OutputError, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(text.encode())
