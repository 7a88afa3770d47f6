"""Arguments of commands that read datasets: those of a config, or of a folder."""

import argparse
import os
from pathlib import Path

from ssd.commands.arguments import CONFIG_HELP, OVERRIDES_HELP, add_flag
from ssd.config import Config, load_config
from ssd.data.datasets.find import FORMATS
from ssd.tools.data.source import folder_overrides
from ssd.utils.errors import ConfigError


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
    """Return the config that the command line names; for a folder, the default config, see ``folder_overrides``."""
    if not os.path.isdir(args.config):
        if args.format is not None:
            raise ConfigError(f"--format is for a folder; in {args.config} set FORMAT in DATASETS.CUSTOM")
        return load_config(args.config, args.opts)
    overrides = folder_overrides(Path(args.config), args.format)
    return load_config(None, [*overrides, *args.opts])
