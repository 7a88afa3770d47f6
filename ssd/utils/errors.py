"""Errors that are the user's to mend: their message names the place, what was found and the remedy.

The scripts print these without a traceback; every other exception is a bug of ours and keeps its traceback.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


class SSDError(Exception):
    """Base of all errors in what the user gave us.

    Args:
        message: what to tell the user.
    """

    def __init__(self, message: str = ""):
        # A DataLoader raises the error of a worker anew, with the worker's traceback before the message.
        name = f"{type(self).__module__}.{type(self).__qualname__}: "
        super().__init__(message.rpartition(name)[2].rstrip())


class ConfigError(SSDError, ValueError):
    """A config file, key or value is wrong, or two keys contradict each other."""


class DatasetError(SSDError, ValueError):
    """A dataset is missing, or one of its annotations is malformed.

    Args:
        message: what to tell the user; names path and field too.
        path: the file at fault; None = none, or not known.
        field: the place in it, such as "object 3, <bndbox>" or "annotations[7]".
        kind: what is wrong in a few words, by which mistakes are counted.
    """

    def __init__(
        self,
        message: str = "",
        *,
        path: str | os.PathLike[str] | None = None,
        field: str = "",
        kind: str = "malformed annotation",
    ):
        super().__init__(message)
        self.path = None if path is None else os.fspath(path)
        self.field = field
        self.kind = kind


class ImageError(SSDError, ValueError):
    """An image cannot be read."""


class OutputError(SSDError, OSError):
    """A result cannot be written."""


class CheckpointError(SSDError, RuntimeError):
    """A checkpoint is missing, damaged, or does not fit the model."""


class PickledObjectError(CheckpointError):
    """A checkpoint holds objects, and loading these could execute any code."""


class DeviceError(SSDError, RuntimeError):
    """The requested device does not exist on this machine."""


class DownloadError(SSDError, OSError):
    """A URL cannot be fetched, or what came does not have the promised hash."""


class ExportError(SSDError, RuntimeError):
    """A detector cannot be exported, or an exported one is missing, damaged, or of something else."""


class MissingPackageError(SSDError, ImportError):
    """An optional package is not installed."""


class TrainingError(SSDError, RuntimeError):
    """The training cannot go on."""


@contextmanager
def os_errors_as(kind: type[SSDError], path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise an OSError of the block, which writes ``path``, as one of ours."""
    try:
        yield
    except SSDError:  # some of ours are OSErrors too
        raise
    except OSError as error:
        raise kind(f"{os.fspath(path)}: cannot be written: {error.strerror or error}") from error
