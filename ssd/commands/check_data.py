"""The command that checks the datasets of a configuration."""

import argparse
import json
from collections.abc import Sequence

from ssd.commands.arguments import Parser
from ssd.commands.run import run_script
from ssd.commands.source import SOURCE, add_format, load_source
from ssd.tools.data.check import check_data
from ssd.tools.data.check_report import report_to_text
from ssd.utils.errors import OutputError, os_errors_as
from ssd.utils.files import atomic_write
from ssd.utils.logger import say, setup_logger


def main(args: Sequence[str]) -> int:
    """Run `ssd data check`."""
    return run_script(lambda: run(parse_args(args)))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Parse the command line after `ssd data check`."""
    description = "Check annotations and images of DATASETS.TRAIN and TEST, or of a folder, and list all mistakes."
    parser = Parser("ssd data check", description, "ssd data check photos", SOURCE)
    add_format(parser)
    parser.add_flag("--json", "FILE", "also write the report as JSON")
    parser.add_flag("--show", "N", "problems of each kind to show", "--num", default=5)
    return parser.parse_word(args, "config", "FOLDER or CONFIG")


def run(args: argparse.Namespace) -> int:
    """Check, write the report to the standard output, and return the exit status: 0 without errors, else 1."""
    setup_logger(None)
    report = check_data(load_source(args))
    if args.json:
        # ASCII, since the name of a file need not be valid Unicode
        content = json.dumps(report.as_dict(), indent=1, allow_nan=False).encode("ascii")
        with os_errors_as(OutputError, args.json), atomic_write(args.json) as file:
            file.write(content)
    say(report_to_text(report, max(args.show, 0)))
    return 1 if report.count("error") else 0
