"""Command-line arguments that several commands share."""

import argparse
import os
from pathlib import Path

CONFIG_HELP = "YAML file, or the name of one of the library's configs, such as vgg_ssd300_voc0712.yaml"
CKPT_HELP = "path, URL or name of `ssd models`; default: the last one of OUTPUT_DIR"
OVERRIDES_HELP = "overrides of config keys"


def make_parser(description: str, prog: str | None = None) -> argparse.ArgumentParser:
    """Build a parser with the arguments of commands that take --config-file; ``prog`` None is the script's name."""
    parser = argparse.ArgumentParser(prog, description=description)
    add_flag(parser, "--config-file", default=None, metavar="FILE", help=CONFIG_HELP)
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help="ignored: the launcher sets LOCAL_RANK"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help=OVERRIDES_HELP)
    return parser


def add_flag(parser: argparse.ArgumentParser, name: str, **kwargs: object) -> None:
    """Add an option in both spellings, with dashes and with underscores."""
    stem = name.removeprefix("--")
    spellings = dict.fromkeys([name, f"--{stem.replace('_', '-')}", f"--{stem.replace('-', '_')}"])
    parser.add_argument(*spellings, **kwargs)  # type: ignore[arg-type]


def user_path(text: str) -> Path:
    """Return the path of an argument, with ``~`` as the home folder; a shell leaves it in ``--output=~/folder``."""
    return Path(os.path.expanduser(text))


def parse_bool(text: str) -> bool:
    """Return the truth value of an option."""
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return values[text.lower()]


def parse_tile(text: str) -> int:
    """Return the side of a tile in pixels."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number of pixels, or another option behind --tile; got {text!r}")
    return int(text)
