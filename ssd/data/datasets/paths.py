"""Paths of a dataset: they exist, are files, and those that an annotation names lie where they should."""

import difflib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ssd.utils.errors import DatasetError


class MissingPathError(DatasetError):
    """A file or folder of a dataset does not exist."""


def require_path(path: Path, what: str) -> Path:
    """Return ``path``, or raise a MissingPathError that says what its nearest existing folder holds."""
    if os.path.exists(path):  # Path.exists raises an OSError for a name that is too long
        return path
    folder = next(parent for parent in path.absolute().parents if os.path.isdir(parent))
    names = sorted(islice(_names(folder), 1000))
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.7)
    listing = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    hint = f"did you mean {' or '.join(close)}?" if close else f"it holds: {listing or 'nothing'}"
    raise MissingPathError(
        f"{what} {path} does not exist. The nearest folder that does is {folder}; {hint}",
        path=path,
        kind=f"missing {what}",
    )


def _names(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries)
    except PermissionError:
        return


def read_file(path: Path, what: str) -> bytes:
    """Return the content of a file.

    Raises:
        MissingPathError: it does not exist.
        DatasetError: it cannot be read, or is no regular file: a pipe would be waited for without end.
    """
    if not os.path.isfile(require_path(path, what)):
        raise DatasetError(f"{path}: the {what} is a folder or a device; a regular file is expected", path=path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: the {what} cannot be read: {error.strerror}", path=path) from error


def path_inside(folder: str, name: str) -> str | None:
    """Return the path of the file that an annotation calls ``name``; None if that is no file name inside ``folder``.

    Sub-folders are welcome, and so are absolute names of files that lie in the folder. Symbolic links are followed:
    who made the folder placed them. ``..`` that leaves the folder, null characters and names that no file system can
    have are what a hostile annotation brings.

    Args:
        folder: the folder of the images.
        name: relative to it, or absolute.
    """
    if not name or "\0" in name or (not name.isascii() and not _is_encodable(name)):
        return None
    path = os.path.join(folder, name)
    if "/" not in name and os.sep not in name and name not in (os.curdir, os.pardir):
        return path
    root = os.path.abspath(folder)
    inner = os.path.abspath(path)
    return path if inner.startswith(os.path.join(root, "")) else None


def _is_encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # JSON can hold half a surrogate pair
        return False
    return True
