"""Commands that consist of other commands, such as `ssd` and `ssd data`; each is imported when it is called."""

import argparse
import importlib
from collections.abc import Mapping, Sequence

Commands = Mapping[str, tuple[str, str]]  # name -> (module with a function main(args), help)


def make_command_parser(prog: str, description: str, commands: Commands) -> argparse.ArgumentParser:
    """Build a parser that takes the name of a command and its arguments, and lists the commands."""
    lines = "\n".join(f"  {name:<12}{text}" for name, (_, text) in commands.items())
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=f"commands:\n{lines}\n\n`{prog} COMMAND --help` shows the options of one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=commands, metavar="COMMAND", help=", ".join(commands))
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="...", help="its options")
    return parser


def run_command(parser: argparse.ArgumentParser, commands: Commands, args: Sequence[str] | None) -> int:
    """Run the command that ``args`` (None = those of the process) begins with, and return its exit status."""
    parsed = parser.parse_args(args)
    status: int = importlib.import_module(commands[parsed.command][0]).main(parsed.args)
    return status
