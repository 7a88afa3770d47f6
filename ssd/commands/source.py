"""Arguments of commands that read datasets: those of a config, or of a folder."""

import argparse
import os
from pathlib import Path

from ssd.commands.arguments import CONFIG_HELP, Parser
from ssd.config import Config, load_config
from ssd.data.datasets.find import FORMATS
from ssd.tools.data.source import folder_overrides
from ssd.utils.errors import ConfigError

SOURCE = ("FOLDER|CONFIG", f"folder of a dataset; or a config: {CONFIG_HELP}")


def add_format(parser: Parser) -> None:
    """Add the option that chooses among the formats in a folder."""
    parser.add_flag("--format", "NAME", "format of the annotations in the folder (default: detected)", choices=FORMATS)


def load_source(args: argparse.Namespace) -> Config:
    """Return the config that ``config`` names; for a folder, the default config, see ``folder_overrides``."""
    if not os.path.isdir(args.config):
        if args.format is not None:
            raise ConfigError(f"--format is for a folder; in {args.config} set FORMAT in DATASETS.CUSTOM")
        return load_config(args.config, args.opts)
    overrides = folder_overrides(Path(args.config), args.format)
    return load_config(None, [*overrides, *args.opts])
