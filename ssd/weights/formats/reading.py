"""Reading of the weights in a checkpoint of any project."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ssd.modeling.backbone.pretrained import StateDict
from ssd.utils.checkpoint_file import is_state_dict, list_keys, local_file, read_content
from ssd.utils.errors import CheckpointError, PickledObjectError
from ssd.weights.formats.inert_pickle import Shell, load_inert, state_dict_of

_KEYS = ("state_dict", "model", "model_state_dict", "net")  # of the weights, in the files of the known projects
_WRAPPERS = re.compile(r"^(module\.)+")  # DataParallel and DistributedDataParallel


class CheckpointContent(NamedTuple):
    """Content of a file.

    Attributes:
        source: Path or URL.
        weights: State dict, without the prefix of data-parallel wrappers.
        content: The whole dictionary; empty for a bare state dict.
    """

    source: str
    weights: StateDict
    content: Mapping[str, Any]


def read_weights(source: str) -> CheckpointContent:
    """Read a checkpoint of any project, a path or URL, without executing anything in it.

    Raises:
        CheckpointError: The file is missing, damaged, refused as unsafe, or holds no weights.
    """
    try:
        content: Any = read_content(source)
    except PickledObjectError:
        content = load_inert(local_file(source), source)
    if isinstance(content, Shell):
        content = {"model": content}
    if not isinstance(content, dict):
        raise CheckpointError(f"{source}: a checkpoint is a dictionary, this holds a {type(content).__name__}")
    if is_state_dict(content):
        return CheckpointContent(source, _unwrapped(content, source), {})
    for key in _KEYS:
        value = content.get(key)
        weights: Any = state_dict_of(value) if isinstance(value, Shell) else value
        if is_state_dict(weights):
            return CheckpointContent(source, _unwrapped(weights, source), content)
    raise CheckpointError(
        f"{source}: no weights under any of the keys {', '.join(_KEYS)}; its keys are {list_keys(content)}"
    )


def _unwrapped(weights: StateDict, source: str) -> StateDict:
    unwrapped: StateDict = {}
    for name, value in weights.items():
        plain = _WRAPPERS.sub("", name)
        if plain in unwrapped:
            raise CheckpointError(
                f"{source} has {plain} both with and without the prefix module. of a wrapped network: it holds two "
                "networks. Save the weights of one"
            )
        unwrapped[plain] = value
    return unwrapped
