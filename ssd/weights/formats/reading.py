"""Reading of the weights in a checkpoint of any project; pickled objects become shells, and execute nothing."""

import importlib
import io
import pickle
import re
import warnings
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssd.modeling.backbone.pretrained import StateDict
from ssd.utils.checkpoint_file import LOAD_ERRORS, is_state_dict, local_file, read_content, refuse_text
from ssd.utils.errors import CheckpointError, PickledObjectError, join_some

_KEYS = ("state_dict", "model", "model_state_dict", "net")  # of the weights, in the files of the known projects
# Modules that read other files than those of torch and safetensors, by suffix: ``read(path, source)``.
_READERS = {
    ".caffemodel": "ssd.weights.caffe",
    ".tflite": "ssd.weights.tflite",
    ".index": "ssd.weights.tensorflow_files",
    ".pb": "ssd.weights.tensorflow_files",
}
# Files next to weights, by suffix, for messages.
_OTHERS = {
    ".prototxt": "describes a network of Caffe, and has no weights; give its .caffemodel",
    ".pbtxt": "describes a graph of TensorFlow, and has no weights; give its .pb or its checkpoint",
    ".onnx": "is an exported graph, from which no checkpoint can be made; give the file that it was exported from",
}
_WRAPPERS = re.compile(r"^(module\.)+")  # DataParallel and DistributedDataParallel


class CheckpointContent(NamedTuple):
    """Content of a file."""

    source: str  # path or URL
    weights: StateDict  # without the prefix of data-parallel wrappers
    content: Mapping[str, Any]  # the whole dictionary; empty for a bare state dict


def read_weights(source: str) -> CheckpointContent:
    """Read a checkpoint of any project, a path or URL, without executing anything in it.

    The suffix of its name gives the kind of the file; all but those of ``_READERS`` are torch's or safetensors.
    """
    path = tensorflow_index(source) or local_file(source)
    if path.suffix.lower() in _OTHERS:
        raise CheckpointError(f"{source} {_OTHERS[path.suffix.lower()]}")
    if path.suffix.lower() in _READERS:
        refuse_text(path, source)
        reader = importlib.import_module(_READERS[path.suffix.lower()])
        read: CheckpointContent = reader.read(path, source)
        return read
    try:
        content: Any = read_content(source)
    except PickledObjectError:
        content = load_inert(local_file(source), source)
    if isinstance(content, Shell):
        content = {"model": content}
    if not isinstance(content, dict):
        raise CheckpointError(f"{source}: a checkpoint is a dictionary, this holds a {type(content).__name__}")
    if is_state_dict(content):
        return CheckpointContent(source, _unwrapped(content), {})
    for key in _KEYS:
        value = content.get(key)
        weights: Any = state_dict_of(value) if isinstance(value, Shell) else value
        if is_state_dict(weights):
            return CheckpointContent(source, _unwrapped(weights), content)
    raise CheckpointError(
        f"{source}: no weights under any of the keys {', '.join(_KEYS)}; its keys are {join_some(content) or '(none)'}"
    )


def tensorflow_index(source: str) -> Path | None:
    """Return the index of a TensorFlow checkpoint that is named by its prefix or folder; None if there is none."""
    path = Path(source)
    patterns = ("*.index", "checkpoint/*.index", "variables/variables.index", "saved_model/variables/variables.index")
    found = [Path(f"{source}.index")] if path.name else []
    for pattern in patterns if path.is_dir() else ():
        found += sorted(path.glob(pattern), key=lambda index: (len(index.name), index.name), reverse=True)
    return next((index for index in found if index.is_file()), None)


def _unwrapped(weights: StateDict) -> StateDict:
    return {_WRAPPERS.sub("", name): value for name, value in weights.items()}


_REBUILT = ("tensor", "tensor_v2", "parameter")
# Built as themselves: containers, and tensors by the names that torch.save writes for them.
_BUILT: dict[tuple[str, str], Any] = {
    **{("collections", kind.__name__): kind for kind in (OrderedDict, defaultdict, Counter)},
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    **{("torch._utils", f"_rebuild_{kind}"): getattr(torch._utils, f"_rebuild_{kind}") for kind in _REBUILT},
    ("torch.nn.parameter", "Parameter"): nn.Parameter,
    **{
        (module, kind.__name__): kind
        for module in ("builtins", "__builtin__")
        for kind in (dict, frozenset, list, object, set, tuple)
    },
}
# Packages whose classes become shells: networks, optimizers, and the scalars and logs next to them.
_SHELLS = (
    "torch.nn", "torch.optim", "torchvision", "model", "models", "utils", "__main__", "mmengine", "mmcv", "numpy",
)  # fmt: skip
_RECONSTRUCT = {("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor")}


class Shell:
    """State of an object of a pickled class, without its behaviour; None if it has no state."""

    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> "Shell":
        """Ignore all arguments."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, *_: Any) -> None:
        """Ignore the elements of a class that is pickled as a container."""

    extend = __setitem__ = append


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


# Takes the place of the module `pickle` in torch.load.
_INERT_PICKLE = SimpleNamespace(
    Unpickler=_InertUnpickler, load=lambda file, **options: _InertUnpickler(file, **options).load(), __name__="pickle"
)


def load_inert(path: Path, source: str) -> Any:
    """Read a file of torch.save that holds objects, and return its content with shells in their place."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the source code of shells cannot be found
            # From memory: torch extracts the files of an archive that it reads from a disk.
            file = io.BytesIO(path.read_bytes())
            return torch.load(file, map_location="cpu", pickle_module=_INERT_PICKLE, weights_only=False)
    except pickle.UnpicklingError as error:
        unsafe = str(error).removeprefix("GLOBAL ")
        raise CheckpointError(
            f"{source}: refused. Its pickle names {unsafe}, which is no part of a network and could execute any code. "
            "Nothing of it was executed; do not load the file elsewhere unless you trust its author"
        ) from error
    except LOAD_ERRORS as error:
        raise CheckpointError(f"{source}: damaged or truncated ({error}); fetch it again") from error


def state_dict_of(module: Shell) -> dict[str, Tensor]:
    """Return the state dict of a pickled ``nn.Module`` from its shell."""
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
