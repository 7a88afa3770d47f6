"""Errors that the user can fix, which the scripts print without a traceback; any other exception is a bug."""

import importlib
import os
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CHECKOUT = Path(__file__).parents[2] / "pyproject.toml"
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = 20


class SSDError(Exception):
    """Base of all errors in the user's input."""

    def __init__(self, message: str = ""):
        # A DataLoader raises the error of a worker again, with the worker's traceback before the message.
        name = f"{type(self).__module__}.{type(self).__qualname__}: "
        super().__init__(message.rpartition(name)[2].rstrip())


class ConfigError(SSDError, ValueError):
    """A config file, key or value is wrong, or two keys contradict each other."""


class DatasetError(SSDError, ValueError):
    """A dataset is missing, or one of its annotations is malformed; the message names path and field too."""

    def __init__(
        self,
        message: str = "",
        *,
        path: str | os.PathLike[str] | None = None,  # file at fault
        field: str = "",  # place in it, such as "object 3, <bndbox>" or "annotations[7]"
        kind: str = "malformed annotation",  # by which errors are counted
    ):
        super().__init__(message)
        self.path = None if path is None else os.fspath(path)
        self.field = field
        self.kind = kind


class ImageError(SSDError, ValueError):
    """An image cannot be read or written."""


class OutputError(SSDError, OSError):
    """A result cannot be written."""


class CheckpointError(SSDError, RuntimeError):
    """A checkpoint is missing, damaged, or does not fit the model."""


class PickledObjectError(CheckpointError):
    """A checkpoint holds pickled objects; loading these could execute any code."""


class DeviceError(SSDError, RuntimeError):
    """The requested device does not exist on this machine."""


class DownloadError(SSDError, OSError):
    """A URL cannot be fetched, or the file does not have the expected hash."""


class ExportError(SSDError, RuntimeError):
    """A detector cannot be exported, or an exported one is missing, damaged or unknown."""


class MissingPackageError(SSDError, ImportError):
    """An optional package is not installed."""


class TrainingError(SSDError, RuntimeError):
    """The training cannot go on."""


@contextmanager
def os_errors_as(kind: type[SSDError], path: str | os.PathLike[str]) -> Iterator[None]:
    """Convert an OSError of the block, which writes ``path``, to ``kind``."""
    try:
        yield
    except SSDError:  # some of ours are OSErrors too
        raise
    except OSError as error:
        raise kind(f"{os.fspath(path)}: cannot be written: {error.strerror or error}") from error


def import_extra(package: str, extra: str) -> Any:
    """Import an optional package or module, which ``extra`` installs; raise MissingPackageError if that fails."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        message = f"{package} cannot be imported ({error}); install it: {install_command(extra)}"
        raise MissingPackageError(message) from error


def install_command(extra: str) -> str:
    """Return the command that installs an extra, for a checkout or an installed package."""
    return f"pip install -e '.[{extra}]'" if _CHECKOUT.is_file() else f"pip install 'ssd-detector[{extra}]'"


def join_some(names: Iterable[object], limit: int = 10, separator: str = ", ") -> str:
    """Join the first names for a message, and say how many more there are."""
    texts = list(map(str, names))
    rest = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return separator.join(texts[:limit]) + rest


def shorten(value: object) -> str:
    """Return the repr of ``value`` for a message, cut if it is long or deep."""
    return _SHORT.repr(value)
