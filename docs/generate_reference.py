"""The reference pages that follow from the code: every config key, every command.

``python docs/generate_reference.py FOLDER`` writes them; the site makes them at build time.
"""

import contextlib
import importlib
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from ssd import cli
from ssd.commands import data as data_command
from ssd.config import cfg, defaults

KEY = re.compile(r"^cfg\.([A-Z0-9_.]+) = (.*)$")


def make_pages() -> dict[str, str]:
    """The text of each page by its file name."""
    return {"config.md": config_page(), "commands.md": commands_page()}


def config_page() -> str:
    """Every key of ssd/config/defaults.py with its default and its comment.

    Raises:
        ValueError: a key of the configuration is not described.
    """
    lines = [
        "# Config keys",
        "",
        "Every key, with its default. A YAML file sets what differs; `KEY VALUE` pairs at the end of a command win. "
        "A key without a comment is described by the one above it.",
        "",
    ]
    described = set()
    for group, keys in read_defaults():
        lines += [f"## {group}", "", "| key | default | |", "|---|---|---|"]
        for key, default, comment in keys:
            described.add(key)
            lines.append(f"| `{key}` | `{default}` | {_cell(comment)} |")
        lines.append("")
    missing = set(_leaves(cfg)) - described
    if missing:
        raise ValueError(f"ssd/config/defaults.py: no line `cfg.KEY = default` for {', '.join(sorted(missing))}")
    return "\n".join(lines)


def read_defaults() -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The groups of keys in the file's order: title, and (key, default as written, comment) of each."""
    groups: dict[str, list[tuple[str, str, str]]] = {}
    comment: list[str] = []
    for line in Path(str(defaults.__file__)).read_text().splitlines():
        match = KEY.match(line)
        if line.startswith("# -----"):
            comment = []
        elif line.startswith("# "):
            comment.append(line.removeprefix("# "))
        elif match and match[2] != "Config()":
            group = groups.setdefault(match[1].rpartition(".")[0] or "Output", [])
            default = "{}" if match[2].startswith("Config(") else match[2]
            group.append((match[1], default.strip('"') or '""', " ".join(comment)))
            comment = []
        elif not match:
            comment = []
    return list(groups.items())


def commands_page() -> str:
    """The help of every command, as it prints it."""
    text = (
        "# Commands\n\nWhat `--help` prints. `train.py`, `test.py` and `demo.py` in the repository are `ssd train`, "
        "`ssd test` and `ssd demo`. Flags may be written with `-` or `_`.\n"
    )
    for title, module, args in _commands():
        text += f"\n## {title}\n\n```text\n{_help(module, args)}```\n"
    return text


def _commands() -> Iterator[tuple[str, str, list[str]]]:
    """How each command is called, the module of its main, and the arguments that lead there."""
    yield "ssd", "ssd.cli", []
    for name, (module, _) in cli.COMMANDS.items():
        yield f"ssd {name}", module, []
        if name == "data":
            for part in data_command.COMMANDS:
                yield f"ssd data {part}", module, [part]


def _help(module: str, args: list[str]) -> str:
    """What a command prints for --help."""
    output = io.StringIO()
    settings = {"COLUMNS": "110", "NO_COLOR": "1"}
    with mock.patch.dict(os.environ, settings), contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        importlib.import_module(module).main([*args, "--help"])
    return output.getvalue()


def _leaves(config: dict[str, object], prefix: str = "") -> Iterator[str]:
    """The names of all keys."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{name}.")
        else:
            yield name


def _cell(text: str) -> str:
    """Text that a cell of a table takes as it is."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("[", "\\[")


if __name__ == "__main__":
    for page_name, page_text in make_pages().items():
        (Path(sys.argv[1]) / page_name).write_text(page_text)
