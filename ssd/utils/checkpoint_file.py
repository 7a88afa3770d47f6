"""File formats of checkpoints: tensors and plain containers, so that reading one never executes anything.

The container is ``{"model", "optimizer", "scheduler", "iteration", ...}``. Bare weights and safetensors files are read
as ``{"model"}``; safetensors needs the extra of that name.
"""

import difflib
import json
import os
import pickle
import re
import struct
import warnings
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from ssd.utils.errors import CheckpointError, PickledObjectError, import_extra
from ssd.utils.files import atomic_write
from ssd.utils.model_zoo import cache_url, is_url

SAFETENSORS = ".safetensors"
# Exact types: a subclass (np.float64 is a float) would be pickled by its name, and weights_only refuses it.
_LEAF_TYPES = (Tensor, nn.Parameter, bool, int, float, str, type(None))
_SEQUENCE_TYPES = (list, tuple)
_MAPPING_TYPES = (dict, OrderedDict, Counter)  # Counter: the milestones of torch's MultiStepLR
# Errors of torch.load for other or truncated files; the class depends on their first bytes.
LOAD_ERRORS = (
    *(RuntimeError, EOFError, ValueError, LookupError, ArithmeticError),
    *(TypeError, AttributeError, AssertionError, MemoryError, OSError, struct.error, zipfile.BadZipFile),
)
_MAX_LISTED = 10
# Texts that downloads save in place of a file, by their beginning.
_WEB_PAGE = "a web page, which asks to log in or reports an error: open the link in a browser for the file"
_TEXTS = {
    b"<!doctype html": _WEB_PAGE,
    b"<html": _WEB_PAGE,
    b"version https://git-lfs.": "a pointer of Git LFS to it: `git lfs pull` fetches the file itself",
}
_IS_FOLDER = 0x10  # attribute of a zip record, for which torch.load returns uninitialised memory


def write_checkpoint(path: str | os.PathLike[str], checkpoint: dict[str, Any]) -> None:
    """Write ``checkpoint`` to ``path``, atomically; TypeError names the key path of a value that is not plain."""
    _check_plain(checkpoint, "")
    with atomic_write(Path(path)) as file:
        save_to(file, checkpoint)


def save_to(file: BinaryIO, checkpoint: dict[str, Any]) -> None:
    """Write ``checkpoint`` to an open file; an OSError or KeyboardInterrupt of a write is raised as it is."""
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:
        # After an error in a write, torch closes its archive, and complains about the incomplete archive instead.
        if isinstance(error.__context__, (OSError, KeyboardInterrupt)):
            raise error.__context__ from None
        raise


def write_weights(path: str | os.PathLike[str], weights: dict[str, Tensor], class_names: Sequence[str] = ()) -> None:
    """Write weights to a safetensors file, atomically; class names, background first, go to its metadata as JSON."""
    metadata = {"format": "pt", **({"class_names": json.dumps(list(class_names))} if class_names else {})}
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    data = require_safetensors().save(tensors, metadata)
    with atomic_write(Path(path)) as file:
        file.write(data)


def require_safetensors() -> Any:
    """Return the module safetensors.torch; raise MissingPackageError if it is not installed."""
    return import_extra("safetensors.torch", "safetensors")


def read_checkpoint(path_or_url: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint, or the bare weights of a model, onto the CPU without executing anything in it.

    Args:
        path_or_url: Path, or an http(s) URL, which is cached.

    Returns:
        The container. "model" is the state dict, without the ``module.`` that DistributedDataParallel prefixes.

    Raises:
        CheckpointError: The file is missing, damaged (by its checksums), or no checkpoint.
        DownloadError: The URL cannot be fetched.
        MissingPackageError: It is a safetensors file, and that package is not installed.
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
    """Read the dictionary in a file of any origin, as ``read_checkpoint``; PickledObjectError if it holds objects."""
    path = local_file(source)
    with path.open("rb") as file:
        start = file.read(100).lstrip().lower()
    for text, meaning in _TEXTS.items():
        if start.startswith(text):
            raise CheckpointError(f"{source}: not a checkpoint, but {meaning}")
    content = _read_safetensors(path, source) if path.suffix == SAFETENSORS else _load_file(path, source)
    if not isinstance(content, dict):
        raise CheckpointError(f"{source}: a checkpoint is a dictionary, this holds a {type(content).__name__}")
    return content


def local_file(source: str) -> Path:
    """Return the path of a checkpoint, after fetching it if ``source`` is a URL."""
    path = cache_url(source) if is_url(source) else Path(source)
    if path.is_dir():
        raise CheckpointError(f"{source} is a folder, not a checkpoint file{nearest_checkpoints(path / '.pth')}")
    if not path.is_file():
        raise CheckpointError(f"checkpoint {source!r} does not exist{nearest_checkpoints(path)}")
    return path


def list_keys(content: dict[Any, Any]) -> str:
    """Return the first ten keys of a file, for messages."""
    return ", ".join(map(str, list(content)[:_MAX_LISTED])) or "(none)"


def nearest_checkpoints(path: Path) -> str:
    """Return the end of a message: the .pth files in the folder of ``path`` with similar names."""
    names = sorted(found.name for found in path.parent.glob("*.pth")) if path.parent.is_dir() else []
    if not names:
        return f"; there is no .pth file in {path.parent}" if path.parent.is_dir() else ""
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.0)
    return f"; in {path.parent} there are {', '.join(close)}"


def is_state_dict(value: Any) -> bool:
    """Whether ``value`` maps names to tensors."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(name, str) and isinstance(item, Tensor) for name, item in value.items())
    )


def check_records(path: str | os.PathLike[str], source: str) -> None:
    """Compare each record of a zip archive with its CRC-32, which torch.load ignores.

    Files without checksums pass: those from before PyTorch 1.6, which are no archives, and those saved under
    ``torch.serialization.set_crc32_options(False)``.

    Raises:
        CheckpointError: A record is damaged, or compressed, which torch.save never does but a zip bomb would.
        zipfile.BadZipFile: The structure of the archive is damaged.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        is_packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
        if is_packed or sum(record.file_size for record in records) > os.path.getsize(path):
            raise CheckpointError(f"{source}: its records are compressed or overlap, as torch.save never writes them")
        folders = [record.filename for record in records if record.external_attr & _IS_FOLDER]
        damaged = archive.testzip() if any(record.CRC for record in records) else None
    if damaged is not None or folders:
        name = damaged or folders[0]
        raise CheckpointError(f"{source}: damaged, the checksum of its record {name} does not fit; fetch it again")


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


def _type_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _load_file(path: Path, source: str) -> Any:
    try:
        check_records(path, source)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # of files by other tools
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:  # a RuntimeError too
        raise
    except pickle.UnpicklingError as error:
        unsafe = re.search(r"GLOBAL ([\w.]+)", str(error))
        if not unsafe:
            is_pickle = path.read_bytes()[:1] == pickle.PROTO
            kind = ", but another pickle; nothing of it was executed" if is_pickle else ""
            raise CheckpointError(f"{source}: not a checkpoint{kind}") from error
        raise PickledObjectError(
            f"{source}: holds a Python object ({unsafe[1]}), and loading it could execute any code; "
            "if you trust the file, save it again with tensors and plain values only"
        ) from error
    except LOAD_ERRORS as error:
        cause = re.split(r"\n|\. ", str(error))[0] or "it ends too early"
        raise CheckpointError(f"{source}: damaged, truncated, or not a checkpoint ({cause}); fetch it again") from error


def _read_safetensors(path: Path, source: str) -> dict[str, Any]:
    torch_format = require_safetensors()
    import safetensors

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        checkpoint: dict[str, Any] = {"model": torch_format.load_file(path)}
        if "class_names" in metadata:
            names = json.loads(metadata["class_names"])
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("its class_names are no list of names")
            checkpoint["class_names"] = names
    except (safetensors.SafetensorError, ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{source}: damaged, truncated, or no safetensors file ({error})") from error
    return checkpoint
