"""Arguments of commands that read datasets: those of a config, or of a folder."""

import argparse
import os
from pathlib import Path

from ssd.commands.arguments import CONFIG_HELP, SPELLINGS_OF_CONFIG, Parser
from ssd.config import Config, load_config
from ssd.data.datasets.find import FORMATS
from ssd.tools.data.source import folder_overrides
from ssd.utils.errors import ConfigError

SOURCE = ("FOLDER|CONFIG", f"folder of a dataset; or a config: {CONFIG_HELP}")


def add_source_arguments(parser: Parser) -> None:
    """Add the flags of a command whose first word is ``SOURCE``."""
    parser.add_flag("--config-file", *SPELLINGS_OF_CONFIG, metavar="FILE", help=argparse.SUPPRESS)
    add_format(parser)


def add_format(parser: Parser) -> None:
    """Add the option that chooses among the formats in a folder."""
    parser.add_flag("--format", choices=FORMATS, help="format of the annotations in the folder (default: detected)")


def take_source(parser: Parser, args: argparse.Namespace) -> argparse.Namespace:
    """Take ``config``, which may be a folder, from the first word."""
    args.config = args.config_file or (args.words.pop(0) if args.words else None)
    if args.config is None:
        parser.missing("FOLDER or CONFIG")
    args.config = os.path.expanduser(args.config or "")
    parser.refuse_words(args)
    return args


def load_source(args: argparse.Namespace) -> Config:
    """Return the config that the command line names; for a folder, the default config, see ``folder_overrides``."""
    if not os.path.isdir(args.config):
        if args.format is not None:
            raise ConfigError(f"--format is for a folder; in {args.config} set FORMAT in DATASETS.CUSTOM")
        return load_config(args.config, args.opts)
    overrides = folder_overrides(Path(args.config), args.format)
    return load_config(None, [*overrides, *args.opts])
