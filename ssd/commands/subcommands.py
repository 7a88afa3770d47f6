"""Commands that consist of other commands, such as `ssd` and `ssd data`; each is imported when it is called."""

import difflib
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ssd.utils.logger import say

Commands = Mapping[str, tuple[str, str]]  # name -> (module with a function main(args), help)


def run_command(
    prog: str,
    description: str,
    groups: Mapping[str, Commands],
    args: Sequence[str] | None,
    *,
    hidden: Mapping[str, str] = MappingProxyType({}),
    meant: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Run the command that ``args`` (None = those of the process) begins with, and return its exit status.

    ``hidden`` are the modules of commands that the help does not list, ``meant`` are the names here of commands of
    other libraries. Without a command the help is printed.
    """
    modules = {name: module for group in groups.values() for name, (module, _) in group.items()}
    words = list(sys.argv[1:] if args is None else args)
    if words[:1] == ["help"] and len(words) > 1:
        words = [*words[1:], "--help"]
    name = words[0] if words else "--help"
    if name in ("-h", "--help", "help"):
        say(_format_help(prog, description, groups))
        return 0
    module = modules.get(name) or hidden.get(name)
    if module is None:
        near = [*filter(None, [meant.get(name)]), *difflib.get_close_matches(name, [*modules, *hidden], 1)]
        if prog == "ssd" and not near and os.path.isdir(name):
            near = [f"fit {name}"]
        hint = f"; did you mean `{prog} {near[0]}`?" if near else ""
        sys.stderr.write(f"error: there is no command `{prog} {name}`{hint} (`{prog} --help` lists all)\n")
        return 2
    status: int = importlib.import_module(module).main(words[1:])
    return status


def _format_help(prog: str, description: str, groups: Mapping[str, Commands]) -> str:
    width = max(len(name) for group in groups.values() for name in group) + 2
    lines = [f"usage: {prog} COMMAND ...", "", description]
    for title, commands in groups.items():
        lines += ["", f"{title}:"]
        lines += [f"  {name:<{width}}{text}" for name, (_, text) in commands.items()]
    return "\n".join([*lines, "", f"`{prog} COMMAND --help` shows arguments and an example.", ""])
