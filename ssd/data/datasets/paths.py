"""Files of a dataset: those that are required, and those that an annotation names."""

import difflib
import json
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree

from ssd.utils.errors import DatasetError, join_some


class MissingPathError(DatasetError):
    """A file or folder of a dataset does not exist."""


def require_path(path: Path, what: str) -> Path:
    """Return ``path``, or raise a MissingPathError that lists the content of the nearest existing folder."""
    if os.path.exists(path):  # Path.exists raises an OSError for a name that is too long
        return path
    folder = next(parent for parent in path.absolute().parents if os.path.isdir(parent))
    names = names_in(folder, limit=1000)
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.7)
    hint = f"did you mean {' or '.join(close)}?" if close else f"it holds: {join_some(names) or 'nothing'}"
    raise MissingPathError(
        f"{what} {path} does not exist. The nearest folder that does is {folder}; {hint}",
        path=path,
        kind=f"missing {what}",
    )


def names_in(folder: Path, limit: int = 20_000) -> list[str]:
    """Return the names of up to ``limit`` entries of a folder, sorted; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in islice(entries, limit))
    except OSError:
        return []


def files_below(folder: Path) -> Iterator[str]:
    """Yield the files in a folder and in its folders, relative to it, with "/"; hidden folders are skipped."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        start = "" if parent == os.fspath(folder) else Path(parent).relative_to(folder).as_posix() + "/"
        yield from (start + name for name in sorted(files))


def read_file(path: Path, what: str) -> bytes:
    """Return the content of a regular file; a pipe would block."""
    if not os.path.isfile(require_path(path, what)):
        raise DatasetError(f"{path}: the {what} is a folder or a device; a regular file is expected", path=path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: the {what} cannot be read: {error.strerror}", path=path) from error


def read_text(path: Path, what: str) -> str:
    """Return the content of a UTF-8 file, with or without byte order mark; see ``read_file``."""
    try:
        return read_file(path, what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 text: {error}; save the {what} as UTF-8", path=path) from error


def read_lines(path: Path, what: str) -> list[str]:
    """Return the lines of a UTF-8 file, stripped and without empty ones; see ``read_file``."""
    return [line.strip() for line in read_text(path, what).splitlines() if line.strip()]


def read_xml(path: Path, what: str) -> Element | None:
    """Return the outermost element of an XML file without entities; see ``read_file``."""
    content = read_file(path, what)
    try:
        return defusedxml.ElementTree.fromstring(content)
    except (ParseError, ValueError, LookupError) as error:  # also of entities, and from decoding
        raise DatasetError(f"{path}: broken XML, or with entities, which are refused: {error}", path=path) from error


def read_json(path: Path, what: str) -> Any:
    """Return the content of a JSON file; see ``read_file``."""
    content = read_file(path, what)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: the {what} is broken JSON: {error}", path=path) from error


def path_inside(folder: str, name: str) -> str | None:
    """Return the path of the file that an annotation calls ``name``; None if it is no file name inside ``folder``.

    Symbolic links are followed. Refused are a ``..`` that leaves the folder and null characters, as hostile
    annotations use them.
    """
    if not name or "\0" in name:
        return None
    path = os.path.join(folder, name)
    if "/" not in name and os.sep not in name and name not in (os.curdir, os.pardir):
        return path
    root = os.path.abspath(folder)
    inner = os.path.abspath(path)
    return path if inner.startswith(os.path.join(root, "")) else None


def find_file(folder: str, names: Sequence[str]) -> str | None:
    """Return the path of the first of ``names`` inside ``folder`` that exists; None if none does.

    They are taken as written, else with backslashes as the separators of Windows, else in upper or lower case.
    """
    for written in (names, [name.replace("\\", "/") for name in names if "\\" in name]):
        for name in written:
            path = path_inside(folder, name)
            if path is not None and os.path.exists(path):
                return path
    return next(filter(None, (_find_in_any_case(folder, name.replace("\\", "/")) for name in names)), None)


def _find_in_any_case(folder: str, name: str) -> str | None:
    if os.path.isabs(name) or path_inside(folder, name) is None:
        return None
    path = folder
    for part in Path(name).parts:
        inner = os.path.join(path, part)
        if not os.path.exists(inner):
            known = _names_by_case(path, os.stat(path).st_mtime_ns) if os.path.isdir(path) else {}
            if part.lower() not in known:
                return None
            inner = os.path.join(path, known[part.lower()])
        path = inner
    return path


@lru_cache(maxsize=64)
def _names_by_case(folder: str, _: int) -> dict[str, str]:
    """Return the names in a folder by lower-case name; the number tells its states apart."""
    return {name.lower(): name for name in reversed(names_in(Path(folder), limit=10**7))}
