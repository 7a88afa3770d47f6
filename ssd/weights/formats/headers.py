"""The headers: how many classes they have, and layouts of the channels of their last convolutions.

A priors per cell, V values per prior (C classes with background, or 4 offsets). Weights are (A * V, D, h, w), biases
(A * V,); both are called headers here. Ours are "prior-major": channel a * V + v holds value v of prior a. What changes
the layout raises CheckpointError where the channels are not that many times V or A.
"""

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ssd.utils.errors import CheckpointError
from ssd.weights.formats.source import StateDict

CLS_HEADERS, REG_HEADERS = "box_head.predictor.cls_headers", "box_head.predictor.reg_headers"

_EPS = 1e-5  # what the batch norms of this library add to the variance


def count_classes(weights: StateDict) -> int:
    """Return the number of classes, with background, of weights in our names.

    Raises:
        CheckpointError: the first level has no headers, or its header of classes does not go with that of offsets.
    """
    cls_bias, reg_bias = (_last_bias(weights, f"{headers}.0") for headers in (CLS_HEADERS, REG_HEADERS))
    num_scores, num_offsets = weights[cls_bias].numel(), weights[reg_bias].numel()
    if num_offsets == 0 or 4 * num_scores % num_offsets > 0:
        raise CheckpointError(
            f"{cls_bias} has {num_scores} channels and {reg_bias} {num_offsets}, which make no whole number of classes "
            "for priors of 4 offsets: the file is damaged or of another kind"
        )
    return 4 * num_scores // num_offsets


def _last_bias(weights: StateDict, header: str) -> str:
    """Name of the bias of a header's last convolution."""
    names = [name for name in weights if name.startswith(f"{header}.") and name.endswith(".bias")]
    if not names:
        raise CheckpointError(f"missing tensor: {header}.bias")
    return names[-1]


def to_prior_major(header: Tensor, num_priors: int) -> Tensor:
    """From value-major, where channel v * A + a holds value v of prior a (NVIDIA, MLPerf, uvipen)."""
    return _split(header, -1, num_priors).transpose(0, 1).flatten(0, 1)


def take_values(header: Tensor, num_values: int, indices: Sequence[int] | Tensor) -> Tensor:
    """Of the ``num_values`` values of every prior keep those with these indices, in this order."""
    return _split(header, -1, num_values)[:, torch.as_tensor(indices)].flatten(0, 1)


def background_first(header: Tensor, num_classes: int) -> Tensor:
    """From scores of which the last class is the background."""
    return take_values(header, num_classes, [num_classes - 1, *range(num_classes - 1)])


def background_last(header: Tensor, num_classes: int) -> Tensor:
    """The inverse of ``background_first``."""
    return take_values(header, num_classes, [*range(1, num_classes), 0])


def take_priors(header: Tensor, num_priors: int, indices: Sequence[int]) -> Tensor:
    """Put the priors of a cell into the order of ``indices``."""
    return _split(header, num_priors, -1)[torch.as_tensor(indices)].flatten(0, 1)


def _split(header: Tensor, first: int, second: int) -> Tensor:
    try:
        return header.unflatten(0, (first, second))
    except (RuntimeError, IndexError) as error:  # IndexError: a number, not a tensor of channels
        divisor = second if first == -1 else first
        raise CheckpointError(
            f"a header has {header.shape[0] if header.ndim else 0} channels, which is no multiple of {divisor}: the "
            "file is damaged or of another kind"
        ) from error


def with_our_eps(weights: StateDict, eps: float) -> StateDict:
    """Let the running variances take up that their batch norms add ``eps`` to them, and ours 1e-5.

    Then evaluation is the same. Training goes on from a variance that is greater by the difference.
    """
    return {name: value + (eps - _EPS) if name.endswith(".running_var") else value for name, value in weights.items()}


def with_headers(weights: StateDict, pattern: str, change: Callable[[Tensor], Tensor]) -> StateDict:
    """Change the headers whose whole names match a regular expression.

    Raises:
        CheckpointError: ``change`` does; then with the name of the tensor.
    """
    changed = dict(weights)
    for name, value in weights.items():
        if re.fullmatch(pattern, name):
            try:
                changed[name] = change(value)
            except CheckpointError as error:
                raise CheckpointError(f"{name}: {error}") from error
    return changed


def with_depthwise_biases(weights: StateDict) -> StateDict:
    """Give the depthwise convolutions of separable headers, in our names, the biases that they have here: zero."""
    filled: StateDict = {}
    for name, value in weights.items():
        filled[name] = value
        if re.fullmatch(r"box_head\.predictor\.\w+_headers\.\d+\.conv\.0\.weight", name):
            filled[name.removesuffix("weight") + "bias"] = value.new_zeros(value.shape[:1])
    return filled
