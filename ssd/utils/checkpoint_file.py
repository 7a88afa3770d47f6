"""Checkpoint files, which hold tensors and plain containers: reading one never executes anything.

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
from typing import Any

import torch
from torch import Tensor, nn

from ssd.utils.errors import CheckpointError, PickledObjectError, import_extra, join_some
from ssd.utils.files import atomic_write
from ssd.utils.model_zoo import cache_model, cache_url, is_url, zoo_models

SAFETENSORS = ".safetensors"
# Exact types: a subclass (np.float64 is a float) would be pickled by its name, and weights_only refuses it.
_LEAF_TYPES = (Tensor, nn.Parameter, bool, int, float, str, type(None))
_MAPPING_TYPES = (dict, OrderedDict, Counter)  # Counter: the milestones of torch's MultiStepLR
# Errors of torch.load for other or truncated files; the class depends on their first bytes.
LOAD_ERRORS = (
    *(RuntimeError, EOFError, ValueError, LookupError, ArithmeticError),
    *(TypeError, AttributeError, AssertionError, MemoryError, OSError, struct.error, zipfile.BadZipFile),
)
# Texts that downloads save in place of a file, by their beginning.
_WEB_PAGE = "a web page, which asks to log in or reports an error: open the link in a browser for the file"
_TEXTS = {
    b"<!doctype html": _WEB_PAGE,
    b"<html": _WEB_PAGE,
    b"version https://git-lfs.": "a pointer of Git LFS to it: `git lfs pull` fetches the file itself",
}
_IS_FOLDER = 0x10  # attribute of a zip record, for which torch.load returns uninitialised memory


def write_checkpoint(path: str | os.PathLike[str], checkpoint: dict[str, Any]) -> None:
    """Write tensors and plain containers to ``path``, atomically; TypeError names the key path of any other value."""
    _check_plain(checkpoint, "")
    with atomic_write(Path(path)) as file:
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
    data = import_extra("safetensors.torch", "safetensors").save(tensors, metadata)
    with atomic_write(Path(path)) as file:
        file.write(data)


def read_checkpoint(path_or_url: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint of a path or cached URL, or bare weights, onto the CPU without executing anything in it.

    "model" is the state dict, without the ``module.`` of DistributedDataParallel. A damaged file is a CheckpointError.
    """
    source = os.fspath(path_or_url)
    checkpoint = read_content(source)
    if is_state_dict(checkpoint):
        checkpoint = {"model": checkpoint}
    if not is_state_dict(checkpoint.get("model")):
        keys = join_some(checkpoint) or "(none)"
        raise CheckpointError(f'{source}: no weights under the key "model"; its keys are {keys}')
    checkpoint["model"] = {name.removeprefix("module."): value for name, value in checkpoint["model"].items()}
    return checkpoint


def read_content(source: str) -> dict[Any, Any]:
    """Read the dictionary in a file of any origin, as ``read_checkpoint``; PickledObjectError if it holds objects."""
    path = local_file(source)
    refuse_text(path, source)
    content = _read_safetensors(path, source) if path.suffix == SAFETENSORS else _load_file(path, source)
    if not isinstance(content, dict):
        raise CheckpointError(f"{source}: a checkpoint is a dictionary, this holds a {type(content).__name__}")
    return content


def refuse_text(path: Path, source: str) -> None:
    """Raise CheckpointError if the file at ``path`` is a text that a download brings in place of a file."""
    with path.open("rb") as file:
        start = file.read(100).lstrip().lower()
    for text, meaning in _TEXTS.items():
        if start.startswith(text):
            raise CheckpointError(f"{source}: not a checkpoint, but {meaning}")


def local_file(source: str) -> Path:
    """Return the path of a checkpoint: a file, a run's folder with its best or final one, URL or name of the zoo."""
    path = cache_url(source) if is_url(source) else Path(os.path.expanduser(source))
    if not path.exists() and source in zoo_models():
        return cache_model(source)
    if path.is_dir():
        if found := [path / name for name in ("model_best.pth", "model_final.pth") if (path / name).is_file()]:
            return found[0]
        raise CheckpointError(f"{source} is a folder, not a checkpoint file{nearest_checkpoints(path / '.pth')}")
    if not path.is_file():
        close = difflib.get_close_matches(source, zoo_models(), n=1)
        hint = f"; did you mean {close[0]} of `ssd models`?" if close else nearest_checkpoints(path)
        raise CheckpointError(f"checkpoint {source!r} does not exist{hint}")
    return path


def nearest_checkpoints(path: Path) -> str:
    """Return the end of a message: the .pth files in the folder of ``path`` with similar names."""
    if not path.parent.is_dir():
        return ""
    names = sorted(found.name for found in path.parent.glob("*.pth"))
    close = ", ".join(difflib.get_close_matches(path.name, names, n=3, cutoff=0.0))
    return f"; in {path.parent} there are {close}" if close else f"; there is no .pth file in {path.parent}"


def is_state_dict(value: Any) -> bool:
    """Whether ``value`` maps names to tensors."""
    items = value.items() if isinstance(value, dict) else ()
    return bool(items) and all(isinstance(name, str) and isinstance(item, Tensor) for name, item in items)


def load_model_weights(model: nn.Module, state_dict: dict[str, Tensor], source: str) -> None:
    """Load weights that fit the model exactly; otherwise raise CheckpointError and change nothing."""
    check_model_weights(model, state_dict, source)
    model.load_state_dict(state_dict)


def check_model_weights(model: nn.Module, state_dict: dict[str, Tensor], source: str) -> None:
    """Raise CheckpointError, with a list of the differences, if names or shapes are not those of the model."""
    expected = model.state_dict()
    missing = [name for name in expected if name not in state_dict]
    unexpected = [name for name in state_dict if name not in expected]
    misshapen = [name for name in expected if name in state_dict and expected[name].shape != state_dict[name].shape]
    if not (missing or unexpected or misshapen):
        return
    shapes = [f"{name} {_shape(state_dict[name])}, the model has {_shape(expected[name])}" for name in misshapen]
    titles = {
        "in the model but not in the checkpoint": missing,
        "in the checkpoint but not in the model": unexpected,
        "of another shape": shapes,
    }
    lines = [f"{source} does not fit the model:"]
    for title, items in titles.items():
        lines += [f"  {title} ({len(items)}): {join_some(items, separator='; ')}"] if items else []
    if not (missing or unexpected) and all(".cls_headers." in name for name in misshapen):
        lines.append("Only the classification headers differ: the checkpoint has another class count (NUM_CLASSES).")
    raise CheckpointError("\n".join(lines))


def matches_any(name: str, patterns: Sequence[str]) -> bool:
    """Return whether one of the regular expressions matches the beginning of a tensor's name."""
    return any(re.match(pattern, name) for pattern in patterns)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _check_plain(value: Any, key_path: str) -> None:
    """Raise TypeError that names the key path unless ``value`` is built of tensors and plain containers only."""
    if type(value) in _MAPPING_TYPES:
        for key, item in value.items():
            if type(key) not in (str, int):
                raise TypeError(f"checkpoint key {key!r} under {key_path!r} must be str or int, not {type(key)}")
            _check_plain(item, f"{key_path}.{key}" if key_path else str(key))
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            _check_plain(item, f"{key_path}[{index}]")
    elif type(value) not in _LEAF_TYPES:
        raise TypeError(f"checkpoint value {key_path!r} is a {type(value)}, which loading would refuse")


def _load_file(path: Path, source: str) -> Any:
    try:
        _check_records(path, source)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # of files by other tools
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:  # a RuntimeError too
        raise
    except pickle.UnpicklingError as error:
        unsafe = re.search(r"GLOBAL ([\w.]+)", str(error))
        if not unsafe:
            raise CheckpointError(f"{source}: not a checkpoint; nothing in it was executed") from error
        raise PickledObjectError(
            f"{source}: holds a Python object ({unsafe[1]}), and loading it could execute any code; "
            "if you trust the file, save it again with tensors and plain values only"
        ) from error
    except LOAD_ERRORS as error:
        cause = re.split(r"\n|\. ", str(error))[0] or "it ends too early"
        raise CheckpointError(f"{source}: damaged, truncated, or not a checkpoint ({cause}); fetch it again") from error


def _check_records(path: Path, source: str) -> None:
    """Compare each record of a zip archive with its CRC-32, which torch.load ignores; old files have no checksums."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        is_packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
        if is_packed or sum(record.file_size for record in records) > os.path.getsize(path):  # a zip bomb
            raise CheckpointError(f"{source}: its records are compressed or overlap, as torch.save never writes them")
        folders = [record.filename for record in records if record.external_attr & _IS_FOLDER]
        damaged = archive.testzip() if any(record.CRC for record in records) else None
    if damaged is not None or folders:
        name = damaged or folders[0]
        raise CheckpointError(f"{source}: damaged, the checksum of its record {name} does not fit; fetch it again")


def _read_safetensors(path: Path, source: str) -> dict[str, Any]:
    torch_format = import_extra("safetensors.torch", "safetensors")
    import safetensors

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            class_names = json.loads((file.metadata() or {}).get("class_names", "[]"))
        weights = torch_format.load_file(path)
    except (safetensors.SafetensorError, ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{source}: damaged, truncated, or no safetensors file ({error})") from error
    if not isinstance(class_names, list) or not all(isinstance(name, str) for name in class_names):
        raise CheckpointError(f"{source}: its class_names are no list of names")
    return {"model": weights, **({"class_names": class_names} if class_names else {})}
