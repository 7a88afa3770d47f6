"""The file format of checkpoints: tensors and plain containers, so that reading one never executes anything in it.

The container is ``{"model", "optimizer", "scheduler", "iteration", ...}``. Bare weights, and those of a safetensors
file, are read as ``{"model"}``.
"""

import difflib
import os
import pickle
import re
import struct
import warnings
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from ssd.utils import safetensors_file
from ssd.utils.atomic import atomic_write
from ssd.utils.checksum import check_records
from ssd.utils.errors import CheckpointError, PickledObjectError
from ssd.utils.model_zoo import cache_url, is_url

# Exact types: a subclass (np.float64 is a float) would be pickled by its name, and weights_only refuses it.
_LEAF_TYPES = (Tensor, nn.Parameter, bool, int, float, str, type(None))
_SEQUENCE_TYPES = (list, tuple)
_MAPPING_TYPES = (dict, OrderedDict, Counter)  # Counter: the milestones of torch's MultiStepLR
# What torch.load raises for files that it did not write, or not to the end; which one depends on their first bytes.
LOAD_ERRORS = (
    *(RuntimeError, EOFError, ValueError, LookupError, ArithmeticError),
    *(TypeError, AttributeError, AssertionError, MemoryError, OSError, struct.error, zipfile.BadZipFile),
)
_MAX_LISTED = 10
# What downloads leave instead of a file, by how it begins.
_WEB_PAGE = "a web page, which asks to log in or to confirm, or tells an error: open the link in a browser for the file"
_TEXTS = {
    b"<!doctype html": _WEB_PAGE,
    b"<html": _WEB_PAGE,
    b"version https://git-lfs.": "a pointer of Git LFS to it: `git lfs pull` fetches the file itself",
}
_LONGEST_START = 100


def write_checkpoint(path: str | os.PathLike[str], checkpoint: dict[str, Any]) -> None:
    """Write ``checkpoint`` to ``path``, whole or not at all.

    Raises:
        TypeError: it holds something else than tensors, numbers, strings, None, and lists, tuples and dictionaries
            of them; the message names the key path.
        OSError: the disk is full, or does not take it for another reason.
    """
    _check_plain(checkpoint, "")
    with atomic_write(Path(path)) as file:
        _save(checkpoint, file)


def read_checkpoint(path_or_url: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint, or the bare weights of a model, onto the CPU without executing anything in it.

    Args:
        path_or_url: a path, or an http(s) URL, which is cached.

    Returns:
        The container. "model" is the state dict, without the ``module.`` that DistributedDataParallel prefixes.

    Raises:
        CheckpointError: the file is missing, damaged (its checksums tell), or no checkpoint.
        DownloadError: the URL cannot be fetched.
        MissingPackageError: it is a safetensors file, and that package is not installed.
    """
    source = os.fspath(path_or_url)
    checkpoint = read_content(source)
    if is_state_dict(checkpoint):
        checkpoint = {"model": checkpoint}
    if not is_state_dict(checkpoint.get("model")):
        raise CheckpointError(f'{source}: no weights under the key "model"; its keys are {list_keys(checkpoint)}')
    checkpoint["model"] = {name.removeprefix("module."): value for name, value in checkpoint["model"].items()}
    return checkpoint


def read_content(source: str) -> dict[Any, Any]:
    """Read the dictionary that is in a file, whoever wrote it, without executing anything in it.

    Args:
        source: a path, or an http(s) URL, which is cached.

    Raises:
        PickledObjectError: there are objects in it.
        CheckpointError: see ``read_checkpoint``.
        DownloadError: likewise.
        MissingPackageError: likewise.
    """
    path = local_file(source)
    _refuse_text(path, source)
    if path.suffix == safetensors_file.SUFFIX:
        content: Any = safetensors_file.read_weights(path, source)
    else:
        content = _load_file(path, source)
    if not isinstance(content, dict):
        raise CheckpointError(f"{source}: a checkpoint is a dictionary, this holds a {type(content).__name__}")
    return content


def local_file(source: str) -> Path:
    """Return where a checkpoint lies, after fetching it if ``source`` is a URL.

    Raises:
        CheckpointError: there is no such file.
        DownloadError: the URL cannot be fetched.
    """
    path = cache_url(source) if is_url(source) else Path(source)
    if path.is_dir():
        raise CheckpointError(f"{source} is a folder, where a checkpoint is a file{nearest_checkpoints(path / '.pth')}")
    if not path.is_file():
        raise CheckpointError(f"checkpoint {source!r} does not exist{nearest_checkpoints(path)}")
    return path


def _refuse_text(path: Path, source: str) -> None:
    """Say what has been saved in the place of a checkpoint, where that is known."""
    with path.open("rb") as file:
        start = file.read(_LONGEST_START).lstrip().lower()
    for text, what in _TEXTS.items():
        if start.startswith(text):
            raise CheckpointError(f"{source}: not a checkpoint, but {what}")


def list_keys(content: dict[Any, Any]) -> str:
    """Name the keys of a file, the first ten, for messages."""
    return ", ".join(map(str, list(content)[:_MAX_LISTED])) or "(none)"


def nearest_checkpoints(path: Path) -> str:
    """Say, as the end of an error message, which .pth files lie where ``path`` was looked for."""
    names = sorted(found.name for found in path.parent.glob("*.pth")) if path.parent.is_dir() else []
    if not names:
        return f"; there is no .pth file in {path.parent}" if path.parent.is_dir() else ""
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.0)
    return f"; in {path.parent} there are {', '.join(close)}"


def _check_plain(value: Any, key_path: str) -> None:
    """Raise TypeError that names the key path unless ``value`` is built of tensors and plain containers only."""
    if type(value) in _MAPPING_TYPES:
        for key, item in value.items():
            if type(key) not in (str, int):
                raise TypeError(f"checkpoint key {key!r} under {key_path!r} must be str or int, not {_type_name(key)}")
            _check_plain(item, f"{key_path}.{key}" if key_path else str(key))
    elif type(value) in _SEQUENCE_TYPES:
        for index, item in enumerate(value):
            _check_plain(item, f"{key_path}[{index}]")
    elif type(value) not in _LEAF_TYPES:
        raise TypeError(
            f"checkpoint value {key_path!r} is a {_type_name(value)}; "
            "a checkpoint holds tensors, numbers, strings, None, and lists, tuples and dictionaries of them"
        )


def _save(checkpoint: dict[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:
        # After an error in writing, torch closes its archive, and complains in its turn that something is missing.
        if isinstance(error.__context__, (OSError, KeyboardInterrupt)):
            raise error.__context__ from None
        raise


def _load_file(path: Path, source: str) -> Any:
    try:
        check_records(path, source)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # of a pickle that others wrote
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:  # a RuntimeError too
        raise
    except pickle.UnpicklingError as error:
        unsafe = re.search(r"GLOBAL ([\w.]+)", str(error))
        if not unsafe:
            is_pickle = path.read_bytes()[:1] == pickle.PROTO
            what = ", but another pickle; nothing of it was executed" if is_pickle else ""
            raise CheckpointError(f"{source}: not a checkpoint{what}") from error
        raise PickledObjectError(
            f"{source}: holds a Python object ({unsafe[1]}), and loading it could execute any code; "
            "save the file anew with tensors and plain values only, where you trust it"
        ) from error
    except LOAD_ERRORS as error:
        cause = re.split(r"\n|\. ", str(error))[0] or "it ends too early"
        raise CheckpointError(f"{source}: damaged, truncated, or not a checkpoint ({cause}); fetch it again") from error


def is_state_dict(value: Any) -> bool:
    """Whether ``value`` maps names to tensors."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(name, str) and isinstance(item, Tensor) for name, item in value.items())
    )


def _type_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
