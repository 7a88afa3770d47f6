"""Detect in images and videos, as the script of lufficc/SSD: demo.py --ckpt FILE; `ssd predict` is its other name."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssd.commands.predict import make_parser, run
from ssd.commands.run import run_script


def main(args: Sequence[str] | None = None) -> int:
    """Run the command with ``args`` (None = those of the process) and return its exit status."""
    return run_script(lambda: run(parse_args(args)))


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line: that of `ssd predict`, with the folders of lufficc/SSD as defaults."""
    parser = make_parser("ssd demo", "ssd demo --ckpt model.pth --images_dir demo")
    parser.set_defaults(output=Path("demo/result"), parts=False)
    parsed = parser.parse_model(args, has_more=True)
    parsed.sources = [*(parsed.source or []), *parsed.words] or ["demo"]
    return parsed
