"""The command `ssd data`: the commands about datasets, each imported when it is called."""

import argparse
import importlib
from collections.abc import Sequence

# name -> (module with a function main(args), what it does)
_COMMANDS = {
    "browse": ("ssd.engine.data_browse", "draw training images beside what the augmentation makes of them"),
    "convert": ("ssd.engine.data_convert", "write a dataset in another format"),
    "split": ("ssd.engine.data_split", "divide a dataset into parts to train and to test on"),
}


def main(args: Sequence[str]) -> int:
    """Run the command that ``args`` begins with, and return its exit status."""
    lines = "\n".join(f"  {name:<12}{description}" for name, (_, description) in _COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="ssd data",
        description="Datasets: pictures, formats and parts.",
        epilog=f"commands:\n{lines}\n\n`ssd data COMMAND --help` tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=_COMMANDS, metavar="COMMAND", help=", ".join(_COMMANDS))
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="...", help="its options")
    parsed = parser.parse_args(args)
    module = importlib.import_module(_COMMANDS[parsed.command][0])
    status: int = module.main(parsed.args)
    return status
