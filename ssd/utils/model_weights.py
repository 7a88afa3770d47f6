"""Loading of weights that must fit the model."""

import re
from collections.abc import Sequence

from torch import Tensor, nn

from ssd.utils.errors import CheckpointError

_MAX_LISTED = 10


def load_model_weights(model: nn.Module, state_dict: dict[str, Tensor], source: str) -> None:
    """Load weights that fit the model exactly; otherwise raise CheckpointError and change nothing.

    Args:
        source: Origin of the weights, for messages.
    """
    check_model_weights(model, state_dict, source)
    model.load_state_dict(state_dict)


def matches_any(name: str, patterns: Sequence[str]) -> bool:
    """Return whether one of the regular expressions matches the beginning of a tensor's name."""
    return any(re.match(pattern, name) for pattern in patterns)


def check_model_weights(model: nn.Module, state_dict: dict[str, Tensor], source: str) -> None:
    """Raise CheckpointError, with a list of the differences, if names or shapes are not those of the model."""
    expected = model.state_dict()
    missing = [name for name in expected if name not in state_dict]
    unexpected = [name for name in state_dict if name not in expected]
    misshapen = [name for name in expected if name in state_dict and expected[name].shape != state_dict[name].shape]
    if not (missing or unexpected or misshapen):
        return
    shapes = [f"{name} {_shape(state_dict[name])}, the model has {_shape(expected[name])}" for name in misshapen]
    lines = [
        *_listing("in the model but not in the checkpoint", missing),
        *_listing("in the checkpoint but not in the model", unexpected),
        *_listing("of another shape", shapes),
    ]
    layers = [name.rpartition(".") for name in misshapen if ".cls_headers." in name]
    is_whole = {layer for layer, _, part in layers if part == "bias"} == {layer for layer, _, _ in layers}
    if not (missing or unexpected) and len(layers) == len(misshapen) and is_whole:
        lines.append("Only the classification headers differ: the checkpoint has another class count (NUM_CLASSES).")
    raise CheckpointError("\n".join([f"{source} does not fit the model:", *lines]))


def _listing(title: str, items: list[str]) -> list[str]:
    """Return one line for up to ten items, or none."""
    if not items:
        return []
    rest = f"; and {len(items) - _MAX_LISTED} more" if len(items) > _MAX_LISTED else ""
    return [f"  {title} ({len(items)}): {'; '.join(items[:_MAX_LISTED])}{rest}"]


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
