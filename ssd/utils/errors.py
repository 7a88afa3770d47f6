"""Errors that are the user's to mend: their message names the place, what was found and the remedy.

The scripts print these without a traceback; every other exception is a bug of ours and keeps its traceback.
"""


class SSDError(Exception):
    """Base of all errors in what the user gave us."""


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
