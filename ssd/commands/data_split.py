"""The command that divides a dataset into parts to train and to test on."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ssd.commands.arguments import add_flag
from ssd.commands.run import run_script
from ssd.config.files import base_text, find_config, shipped_config, similar_configs
from ssd.data.datasets.sizes import read_annotated_image
from ssd.tools.data.near_duplicates import group_looks, look_at_all
from ssd.tools.data.source import add_source_arguments, datasets_yaml, open_datasets, set_names
from ssd.tools.data.split import divide
from ssd.tools.data.writers import FORMATS, Content, collect_content, write_dataset
from ssd.tools.data.writers.write import check_output_folder
from ssd.utils.errors import ConfigError, OutputError, os_errors_as
from ssd.utils.files import atomic_write
from ssd.utils.logger import setup_logger
from ssd.utils.terminal import say

_REDUCTION = 4  # of a JPEG, for a look at it
_PART = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def main(args: Sequence[str]) -> int:
    """Run `ssd data split`."""
    parsed = parse_args(args)
    return run_script(lambda: run(parsed))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Read the command line behind `ssd data split`."""
    parser = argparse.ArgumentParser(
        prog="ssd data split",
        description="Divide a dataset in parts with the same mix of classes. Images that show the same stay together.",
    )
    add_source_arguments(parser)
    parser.add_argument(
        "--parts",
        default="train=0.8,test=0.2",
        metavar="NAME=SHARE,...",
        help="the first is trained on, the second tested on (default: train=0.8,test=0.2)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another one gives another division")
    parser.add_argument("--to", choices=FORMATS, help="the format to write (default: that of SOURCE)")
    add_flag(parser, "--write-config", type=Path, metavar="FILE.yaml", help="also write a config that uses the parts")
    help_text = "the config that this one is based on (default: configs/examples/own_data.yaml)"
    add_flag(parser, "--base", type=Path, metavar="CONFIG", help=help_text)
    return parser.parse_args(args)


def run(args: argparse.Namespace) -> int:
    """Divide, say what each part has, and return 0.

    Raises:
        ConfigError: an option does not make sense; see also ``open_datasets``.
        DatasetError: see ``open_datasets``; or an image cannot be decoded.
        OutputError: the folder is not empty, or a file cannot be written.
    """
    setup_logger(None)
    shares = parse_parts(args.parts)
    check_output_folder(args.output)
    base = _check_config(args)
    datasets, format_name = open_datasets(args)
    content = collect_content(datasets)
    groups = _find_groups(content)
    names = [os.path.basename(record.path) + f" {record.name}" for record in content.records]
    parts = divide(names, [record.labels for record in content.records], groups, shares, args.seed)
    empty = [part for part, rows in parts.items() if not rows]
    if empty:
        raise ConfigError(f"--parts {args.parts}: {len(names)} images leave none for {', '.join(empty)}")
    content = replace(content, parts=parts)
    written = write_dataset(args.output, content, args.to or format_name, link=args.link)
    say(f"\n{args.output}: {len(names)} images, {args.to or format_name}\n")
    num_together = len(groups) - len(np.unique(groups))
    if num_together:
        say(f"images that show what another one shows, and stay in its part: {num_together}\n")
    say("".join(f"Note: {note}\n" for note in written.notes))
    say("\n" + table_of_parts(content) + "\n")
    text = _section(args.output, written.entries)
    say(text)
    if base is not None:
        _write_config(args.write_config, base, text)
        say(f"\nWritten: {args.write_config}\n{_next_commands(args.write_config)}")
    return 0


def parse_parts(text: str) -> dict[str, float]:
    """Read ``train=0.8,test=0.2``.

    Raises:
        ConfigError: it is nothing like that, a name stands twice, or the shares do not add up to 1.
    """
    shares: dict[str, float] = {}
    for item in text.split(","):
        name, _, share = (word.strip() for word in item.partition("="))
        try:
            value = float(share)
        except ValueError:
            value = 0.0
        if not _PART.fullmatch(name) or not 0 < value <= 1 or name in shares:
            raise ConfigError(
                f"--parts {text}: expected different names with shares, like train=0.8,test=0.2; got {item}"
            )
        shares[name] = value
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ConfigError(f"--parts {text}: the shares add up to {sum(shares.values()):g}, not 1")
    return shares


def _check_config(args: argparse.Namespace) -> Path | None:
    """The config that the written one is based on; None if none is written."""
    if args.write_config is None:
        if args.base is not None:
            raise ConfigError("--base goes with --write-config")
        return None
    if args.write_config.exists():
        raise ConfigError(f"--write-config {args.write_config} exists; name a new file")
    if args.write_config.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--write-config {args.write_config} must end in .yaml")
    base = find_config(args.base) if args.base else shipped_config("examples/own_data")
    if not base.is_file():
        raise ConfigError(f"--base {base} does not exist{similar_configs(base)}")
    return base


def _find_groups(content: Content) -> np.ndarray:
    """int64 (N,), see ``group_looks``."""

    def read(row: int) -> np.ndarray:
        record = content.records[row]
        return read_annotated_image(record.path, record.width, record.height, _REDUCTION)[0]

    return group_looks(list(look_at_all(read, len(content.records))))


def table_of_parts(content: Content) -> str:
    """Return lines with the images and the objects of each class of each part."""
    counts = {
        part: np.bincount(
            np.concatenate([content.records[row].labels for row in rows]), minlength=len(content.class_names) + 1
        )[1:]
        for part, rows in content.parts.items()
    }
    width = max(len("images"), *map(len, content.class_names))
    columns = {part: max(len(part), 8) for part in content.parts}
    lines = [" " * width + "".join(f"  {part:>{columns[part]}}" for part in columns)]
    rows = [("images", [len(content.parts[part]) for part in columns])]
    by_class = [(name, [int(counts[part][i]) for part in columns]) for i, name in enumerate(content.class_names)]
    rows += [(name, values) for name, values in by_class if any(values)]
    for name, values in rows:
        cells = (f"  {value:>{size}}" for value, size in zip(values, columns.values(), strict=True))
        lines.append(f"{name:<{width}}{''.join(cells)}")
    unused = [name for name, values in by_class if not any(values)]
    if unused:
        lines.append(f"no object: {', '.join(unused)}")
    return "\n".join(lines) + "\n"


def _next_commands(config: Path) -> str:
    """Lines with what comes after the division."""
    start = f"--config-file {config}"
    return f"Next: ssd train {start}\n      ssd test {start} --report\n      ssd demo {start} --source FOLDER\n"


def _section(folder: Path, entries: Mapping[str, Mapping[str, Any]]) -> str:
    names = list(set_names(folder, entries).values())
    section = dict(zip(names, entries.values(), strict=True))
    return datasets_yaml(section, names[0], names[1] if len(names) > 1 else None)


def _write_config(path: Path, base: Path, section: str) -> None:
    """Write a config that trains on the parts; paths of data are relative to the folder that training starts in."""
    text = f"_BASE_: {base_text(base, path)}\nMODEL:\n  NUM_CLASSES: 0\n{section}OUTPUT_DIR: outputs/{path.stem}\n"
    with os_errors_as(OutputError, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(text.encode())
