"""Errors that are the user's to mend: their message names the place, what was found and the remedy.

The scripts print these without a traceback; every other exception is a bug of ours and keeps its traceback.
"""


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
    """A dataset is missing, or one of its annotations is malformed."""


class ImageError(SSDError, ValueError):
    """An image cannot be read."""


class CheckpointError(SSDError, RuntimeError):
    """A checkpoint is missing, damaged, or does not fit the model."""


class DeviceError(SSDError, RuntimeError):
    """The requested device does not exist on this machine."""


class DownloadError(SSDError, OSError):
    """A URL cannot be fetched, or what came does not have the promised hash."""


class TrainingError(SSDError, RuntimeError):
    """The training cannot go on."""
