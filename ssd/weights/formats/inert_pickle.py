"""Reading pickled networks without building any.

Some projects save a whole ``nn.Module``, others objects beside the weights. Here every class of such a file becomes an
inert shell that keeps the state it was given; only tensors and plain containers are built for real, and nothing of the
file is ever called. Names outside the packages that belong in a checkpoint are refused.
"""

import io
import pickle
import warnings
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ssd.utils.checkpoint_file import LOAD_ERRORS
from ssd.utils.errors import CheckpointError

# What is built for real: containers, and tensors by what torch.save writes for them.
_BUILT: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("collections", "Counter"): Counter,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch.nn.parameter", "Parameter"): nn.Parameter,
    **{
        (module, kind.__name__): kind
        for module in ("builtins", "__builtin__")
        for kind in (dict, frozenset, list, object, set, tuple)
    },
}
# Packages whose classes a checkpoint may hold, as shells: networks, optimizers, the scalars and logs beside them.
_SHELLS = (
    "torch.nn",
    "torch.optim",
    "torchvision",
    "model",
    "models",
    "utils",
    "__main__",
    "mmengine",
    "mmcv",
    "numpy",
)
_RECONSTRUCT = {("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor")}


class Shell:
    """An object of a pickled class: its state, and none of its behaviour.

    Attributes:
        state: what it would have been restored with; None = nothing.
    """

    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> "Shell":
        """Take any arguments, and drop them."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    # Some classes are pickled as containers, and are filled like these.
    def append(self, _: Any) -> None:
        """Take an element of a list, and drop it."""

    def extend(self, _: Any) -> None:
        """Take elements of a list, and drop them."""

    def __setitem__(self, _: Any, __: Any) -> None:
        pass


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) in _BUILT:
            return _BUILT[module_name, global_name]
        if (module_name, global_name) in _RECONSTRUCT:
            return _reconstruct
        if module_name == "torch" and isinstance(getattr(torch, global_name, None), torch.dtype):
            return getattr(torch, global_name)
        if any(module_name == package or module_name.startswith(f"{package}.") for package in _SHELLS):
            return type(global_name, (Shell,), {"__module__": module_name})
        raise pickle.UnpicklingError(f"GLOBAL {module_name}.{global_name}")


def _reconstruct(kind: type, *_: Any) -> Any:
    return kind() if issubclass(kind, Shell) else Shell()


def _load(file: Any, **options: Any) -> Any:
    return _InertUnpickler(file, **options).load()


# What torch.load takes for the module `pickle`.
_INERT_PICKLE = SimpleNamespace(Unpickler=_InertUnpickler, load=_load, __name__="pickle")


def load_inert(path: Path, source: str) -> Any:
    """Read a file of torch.save in which there are objects.

    Args:
        path: the file.
        source: where it comes from, for messages.

    Returns:
        What it holds, with shells in the place of objects.

    Raises:
        CheckpointError: it names something that does not belong in a checkpoint, or is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the source code of shells cannot be found
            # In memory: torch extracts the files of an archive that it can read from a disk.
            return torch.load(
                io.BytesIO(path.read_bytes()),
                map_location="cpu",
                pickle_module=_INERT_PICKLE,
                weights_only=False,
            )
    except pickle.UnpicklingError as error:
        unsafe = str(error).removeprefix("GLOBAL ")
        raise CheckpointError(
            f"{source}: refused. Its pickle names {unsafe}, which is no part of a network, and could execute any code. "
            "Nothing of it was executed; do not load the file with anything else unless you trust who made it"
        ) from error
    except LOAD_ERRORS as error:
        raise CheckpointError(f"{source}: damaged or truncated ({error}); fetch it again") from error


def state_dict_of(module: Shell) -> dict[str, Tensor]:
    """Collect the weights of the shell of an ``nn.Module``, by the names that its ``state_dict`` would give them."""
    weights: dict[str, Tensor] = {}
    _collect(module, "", weights)
    return weights


def _collect(module: Any, prefix: str, weights: dict[str, Tensor]) -> None:
    state = getattr(module, "state", None)
    if not isinstance(state, dict):
        return
    for group in ("_parameters", "_buffers"):
        for name, value in (state.get(group) or {}).items():
            if isinstance(value, Tensor) and name not in (state.get("_non_persistent_buffers_set") or ()):
                weights[f"{prefix}{name}"] = value.detach()
    for name, child in (state.get("_modules") or {}).items():
        _collect(child, f"{prefix}{name}.", weights)
