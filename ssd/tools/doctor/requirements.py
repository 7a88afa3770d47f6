"""What the library requires of other packages, by its metadata or, where it is not installed, its requirements.txt."""

import re
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

_DISTRIBUTION = "ssd-detector"
_FILE = Path(__file__).parents[2] / "requirements.txt"
_LINE = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*([^;]*?)\s*(?:;\s*(.*))?")
_DEVELOPERS = ("dev", "docs")  # extras that work on the library itself needs


class Requirement(NamedTuple):
    """A package that the library needs.

    Attributes:
        name: as it is installed, in lower case with "-" for "_".
        lowest: version from which on it does; "" = any.
        extra: that asks for it; "" = the library itself does.
    """

    name: str
    lowest: str
    extra: str


def read_requirements() -> list[Requirement]:
    """Return what the library and its extras need, but for the extras of its developers."""
    try:
        lines = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        lines = _FILE.read_text().splitlines() if _FILE.is_file() else []
    requirements = [_parse(line) for line in lines if line.strip() and not line.startswith("#")]
    return [requirement for requirement in requirements if requirement.extra not in _DEVELOPERS]


def normalised(name: str) -> str:
    """Return the one spelling of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_versions() -> dict[str, str]:
    """Return the version of each installed package by its normalised name; of several, the one that is imported."""
    versions: dict[str, str] = {}
    for distribution in metadata.distributions():
        fields = distribution.metadata
        if "Name" in fields and "Version" in fields:  # not in what a broken removal has left
            versions.setdefault(normalised(fields["Name"]), fields["Version"])
    return versions


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, such as (2, 11) of "2.11.0rc1+cpu"; zeros at the end do not count."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(number) for number in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _parse(line: str) -> Requirement:
    match = _LINE.fullmatch(line.strip())
    assert match is not None, line
    name, bounds, marker = match.groups()
    lowest = re.search(r">=\s*([\w.]+)", bounds)
    extra = re.search(r"extra\s*==\s*[\"']([\w.-]+)[\"']", marker or "")
    return Requirement(normalised(name), lowest[1] if lowest else "", extra[1] if extra else "")
