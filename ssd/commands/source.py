"""Arguments of commands that read datasets: those of a config, or of a folder."""

import argparse
import logging
import os
from pathlib import Path

from ssd.commands.arguments import CONFIG_HELP, OVERRIDES_HELP, add_flag
from ssd.config import Config, load_config
from ssd.data.datasets.find import FORMATS, find_layout, images_of
from ssd.data.datasets.folders import is_usual_split, kind_of_split
from ssd.tools.data.split import choose_roles
from ssd.utils.errors import ConfigError

logger = logging.getLogger(__name__)


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add CONFIG, which may be a folder, and overrides; see ``load_source``."""
    help_text = f"{CONFIG_HELP}; or the folder of a dataset"
    parser.add_argument("config", type=os.path.expanduser, metavar="CONFIG", help=help_text)
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help=OVERRIDES_HELP)
    add_format(parser)


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses among the formats in a folder."""
    add_flag(parser, "--format", choices=FORMATS, help="format of the annotations in the folder (default: detected)")


def load_source(args: argparse.Namespace) -> Config:
    """Return the config that the command line names; for a folder, the default config with its splits.

    Splits such as val and test are DATASETS.TEST, the others are TRAIN, see ``choose_roles``.
    """
    if not os.path.isdir(args.config):
        if args.format is not None:
            raise ConfigError(f"--format is for a folder; in {args.config} set FORMAT in DATASETS.CUSTOM")
        return load_config(args.config, args.opts)
    entries = find_layout(Path(args.config), args.format).entries
    custom = {split or "all": dict(entry) for split, entry in entries.items()}
    is_usual = all(map(is_usual_split, custom)) and len(set(map(kind_of_split, custom))) == len(custom)
    parts = {name: set() if is_usual else images_of(entry) for name, entry in custom.items()}
    train, test = choose_roles(parts)
    if unused := [name for name in custom if name not in (*train, *test)]:
        logger.info(
            "%s: not read, since their images are in %s: %s", args.config, ", ".join(train + test), ", ".join(unused)
        )
    overrides = ["DATASETS.CUSTOM", custom, "DATASETS.TRAIN", train, "DATASETS.TEST", test]
    return load_config(None, [*overrides, *args.opts])
