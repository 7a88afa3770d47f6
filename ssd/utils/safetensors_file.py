"""Weights alone in the safetensors format, which many tools read; the extra ``safetensors`` installs what it needs."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ssd.utils.atomic import atomic_write
from ssd.utils.errors import CheckpointError
from ssd.utils.extras import import_extra

SUFFIX = ".safetensors"


def require_safetensors() -> None:
    """Raise MissingPackageError unless the package is installed."""
    _package()


def write_weights(path: str | os.PathLike[str], weights: dict[str, Tensor], class_names: Sequence[str] = ()) -> None:
    """Write weights, whole or not at all.

    Args:
        path: of the file.
        weights: by name.
        class_names: background first; kept as JSON in the file's metadata.

    Raises:
        MissingPackageError: safetensors is not installed.
    """
    metadata = {"format": "pt", **({"class_names": json.dumps(list(class_names))} if class_names else {})}
    data = _package().save({name: value.detach().cpu().contiguous() for name, value in weights.items()}, metadata)
    with atomic_write(Path(path)) as file:
        file.write(data)


def read_weights(path: str | os.PathLike[str], source: str) -> dict[str, Any]:
    """Read a safetensors file as a checkpoint: "model", and "class_names" if it has them.

    Raises:
        MissingPackageError: safetensors is not installed.
        CheckpointError: the file is damaged or something else.
    """
    torch_format = _package()
    import safetensors

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        checkpoint: dict[str, Any] = {"model": torch_format.load_file(path)}
        if "class_names" in metadata:
            checkpoint["class_names"] = _parse_names(metadata["class_names"])
    except (safetensors.SafetensorError, ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{source}: damaged, truncated, or no safetensors file ({error})") from error
    return checkpoint


def _parse_names(text: str) -> list[str]:
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("its class_names are no list of names")
    return names


def _package() -> Any:
    return import_extra("safetensors.torch", "safetensors")
