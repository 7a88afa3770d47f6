"""The dataset that a command of `ssd data` reads: a folder, an entry of a config, or a name of the catalogue."""

import argparse
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ssd.commands.arguments import add_flag
from ssd.config import load_config
from ssd.data.build import unite_class_names
from ssd.data.catalog import dataset_names, make_dataset
from ssd.data.datasets import DetectionDataset
from ssd.data.datasets.find import find_layout
from ssd.utils.errors import ConfigError

logger = logging.getLogger(__name__)

WHOLE = "all"  # the part of a dataset without splits


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what is read, and where the result goes."""
    parser.add_argument("source", metavar="SOURCE", help="a folder, CONFIG.yaml:NAME, or the name of a dataset")
    add_flag(parser, "--config-file", default=None, metavar="FILE", help="whose DATASETS.CUSTOM has the name")
    add_flag(parser, "--split", default=None, metavar="NAME", help="of the folder; default: all that it has")
    help_text = "what happens to a mistake in the data, as DATASETS.ON_ERROR (default: raise)"
    add_flag(parser, "--on-error", default="raise", choices=("raise", "skip"), help=help_text)
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FOLDER", help="a new folder")
    images = parser.add_mutually_exclusive_group()
    images.add_argument("--copy", action="store_true", help="copy the images (the default)")
    images.add_argument("--link", action="store_true", help="let symbolic links stand for the images")


def open_datasets(args: argparse.Namespace) -> tuple[dict[str, DetectionDataset], str]:
    """Return the datasets of ``args.source`` by split, all with the same classes, and the format of the first.

    Raises:
        ConfigError: there is no such source, or its parts have different classes.
        DatasetError: the data is missing or malformed.
    """
    name, custom, entries = args.source, {}, {}
    config_file, colon, dataset_name = args.source.rpartition(":")
    if os.path.isdir(args.source):
        entries = _entries_of_folder(Path(args.source), args.split)
    elif args.config_file is not None or (colon and config_file.endswith((".yaml", ".yml"))):
        name = args.source if args.config_file is not None else dataset_name
        custom = load_config(args.config_file or config_file).DATASETS.CUSTOM
        entries = {name: custom[name]} if name in custom else {}
    if not entries and name not in dataset_names():
        known = ", ".join([*custom, *dataset_names()[:3]])
        raise ConfigError(
            f"{args.source}: no folder, and no name of a dataset ({known}, ...); name a folder, CONFIG.yaml:NAME, or "
            "--config-file and a name"
        )
    if args.split is not None and not os.path.isdir(args.source):
        raise ConfigError(f"--split chooses a part of a folder, and {args.source} is the name of a dataset")
    options: dict[str, Any] = {"is_train": False, "on_error": args.on_error}
    if entries:
        datasets = {part: make_dataset(part, {part: entry}, **options) for part, entry in entries.items()}
    else:
        datasets = {name: make_dataset(name, {}, **options)}
    unite_class_names(list(datasets), list(datasets.values()))
    return datasets, _format_of(next(iter(entries.values()), {}), name)


def _entries_of_folder(root: Path, split: str | None) -> dict[str, Mapping[str, Any]]:
    layout = find_layout(root)
    chosen = list(layout.entries) if split is None else [layout.choose_split(split)]
    logger.info("%s: %s, %s", root, layout.title, ", ".join(part or "no splits" for part in chosen))
    return {part or WHOLE: layout.entries[part] for part in chosen}


def _format_of(entry: Mapping[str, Any], name: str) -> str:
    if "ROOT" in entry and "FORMAT" not in entry:
        return find_layout(Path(entry["ROOT"])).title.lower()
    return str(entry.get("FORMAT", "coco" if name.startswith("coco") else "voc"))


def set_names(folder: Path, parts: Mapping[str, Any]) -> dict[str, str]:
    """Return a name for DATASETS.CUSTOM for each part: that of the folder and its own."""
    stem = "".join(letter if letter.isalnum() else "_" for letter in folder.resolve().name) or "own"
    return {part: f"{stem}_{part}" for part in parts}


def datasets_yaml(entries: Mapping[str, Mapping[str, Any]], train: str | None = None, test: str | None = None) -> str:
    """Return the section DATASETS of a config.

    Args:
        entries: by name, for CUSTOM.
        train: name of the set to train on; None = none is set.
        test: likewise to test on.
    """
    lines = ["DATASETS:", "  CUSTOM:"]
    lines += [f"    {_flow(name)}: {_flow(dict(entry))}" for name, entry in entries.items()]
    lines += [f"  {key}: [{_flow(name)}]" for key, name in (("TRAIN", train), ("TEST", test)) if name is not None]
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
