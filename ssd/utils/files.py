"""Writing of files that are complete or missing, even if the process or the machine dies; files that nothing reads."""

import errno
import hashlib
import json
import logging
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ssd.utils.errors import OutputError

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

# Files next to images that nobody expects to be read as images; others are counted.
_DATA_SUFFIXES = (
    *(".txt", ".xml", ".json", ".csv", ".tsv", ".yaml", ".yml", ".names", ".data", ".cfg", ".record", ".tfrecord"),
    *(".pbtxt", ".md", ".rst", ".html", ".py", ".ipynb", ".sh", ".zip", ".gz", ".tar", ".cache", ".npy", ".db", ".ini"),
)
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")  # names that ``atomic_write`` gives
_WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # of `write`, which names no file
_CHUNK_BYTES = 1 << 20


def make_writable(folder: Path, name: str) -> None:
    """Create a folder, if it is missing, and a file in it that is removed; raise OutputError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{name} {folder} cannot be written: {error.strerror}; name another folder") from error


@contextmanager
def atomic_write(path: Path, *, flush: bool = True) -> Iterator[BinaryIO]:
    """Open ``path`` for binary writing; its old content stays until the block ends without an error.

    The bytes go to a temporary file in the same folder, which is flushed to the disk and then renamed; then the folder
    is flushed. An error inside the block removes the temporary file; ``remove_stale`` removes that of a killed process.
    Without ``flush``, for one of many files, a machine that dies may leave it empty.
    """
    temporary = path.with_name(f".{path.name[:50]}.{os.getpid()}.tmp")  # a name may have the greatest length
    try:
        with open(temporary, "wb") as file:
            _lock(file)
            yield file
            if flush:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if flush:
            _flush_folder(path.parent)
    except OSError as error:
        if error.filename == os.fspath(temporary) or (error.filename is None and error.errno in _WRITE_ERRORS):
            error.filename = os.fspath(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_stale(folder: Path) -> list[Path]:
    """Remove the temporary files of ``atomic_write`` that no living process has locked, and return them."""
    removed = []
    for path in sorted(folder.glob(".*.tmp")):
        if not _TEMPORARY.fullmatch(path.name) or not path.is_file():
            continue
        try:
            with open(path, "rb") as file:
                is_stale = _lock(file)
            if is_stale:
                path.unlink()
                removed.append(path)
        except (FileNotFoundError, PermissionError):  # just renamed; another user's, or open on Windows
            continue
    return removed


def write_text(path: Path, text: str, *, flush: bool = True) -> None:
    """Write UTF-8 text as ``atomic_write`` does."""
    with atomic_write(path, flush=flush) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Write strict JSON, without NaN, as ``atomic_write`` does."""
    write_text(path, json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _lock(file: BinaryIO) -> bool:
    """Lock a file until it is closed; return False if another process holds it, or there are no locks."""
    if sys.platform != "win32":  # which removes no file that is open
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def _flush_folder(folder: Path) -> None:
    if sys.platform == "win32":  # where a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(OSError):  # some network file systems flush no folders
        os.fsync(descriptor)
    os.close(descriptor)


def count_others(names: Iterable[str]) -> Counter[str]:
    """Count the suffixes of files that are not images to a reader, without hidden files and usual files of data."""
    suffixes = (os.path.splitext(name)[1].lower() for name in names if not os.path.basename(name).startswith("."))
    return Counter(suffix for suffix in suffixes if suffix not in _DATA_SUFFIXES)


def describe_others(names: Iterable[str], prefix: str = "") -> str:
    """Return the counts of ``count_others`` for a message, after a prefix; empty if there are none."""
    counts = count_others(names).most_common()
    listed = ", ".join(f"{suffix or 'no suffix'} ({count})" for suffix, count in counts)
    return f"{prefix}{listed}" if listed else ""


def warn_of_others(place: str, names: Iterable[str]) -> None:
    """Log a warning with the counts of ``count_others``, if there are any."""
    if others := describe_others(names):
        logger.warning("%s: files with other suffixes are not read: %s", place, others)
