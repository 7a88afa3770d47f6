"""Names and channel layouts that several formats share: headers, VGG16, separable headers.

A priors per cell, V values per prior (C classes with background, or 4 offsets). A header is the weight (A * V, D, h, w)
or the bias (A * V,) of a last convolution. Ours are prior-major: channel a * V + v holds value v of prior a.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ssd.modeling.backbone.pretrained import StateDict
from ssd.modeling.layers import BatchNorm2d
from ssd.structures.class_names import COCO_CLASSES
from ssd.utils.errors import CheckpointError
from ssd.weights.formats.format import Converted, require

CLS_HEADERS, REG_HEADERS = "box_head.predictor.cls_headers", "box_head.predictor.reg_headers"
L2_NORM = "backbone.l2_norm.weight"
# Indices of VGG16's convolutions up to fc7, counting ReLUs and pools: ten up to conv4_3, three of conv5, fc6, fc7.
VGG_CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 31, 33)

_MAX_LEVELS = 7  # SSD512
NUM_SLOTS = 91
_UNUSED_SLOTS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # ids without a category in COCO 2017
SLOTS = tuple(slot for slot in range(NUM_SLOTS) if slot not in _UNUSED_SLOTS)  # background and the 80 classes
_SLOTS_NOTE = (
    "91 classes are taken for the 80 of COCO by category id; label n here is the n-th of these ids. The ten ids "
    "without a category are dropped: a trained detector gives them no probability, so the scores stay the same."
)


def count_classes(weights: StateDict) -> int:
    """Return the number of classes, with background, of weights in our names; CheckpointError if headers do not fit."""
    biases = [name for name in weights if ".cls_headers.0." in name and name.endswith("bias")]
    cls_bias = max(biases, default=f"{CLS_HEADERS}.0.bias")  # the last convolution of a header
    reg_bias = cls_bias.replace(".cls_headers.", ".reg_headers.")
    require(weights, cls_bias, reg_bias)
    num_scores, num_offsets = weights[cls_bias].numel(), weights[reg_bias].numel()  # A * C and A * 4
    if num_offsets == 0 or num_offsets % 4 or 4 * num_scores % num_offsets:
        raise CheckpointError(
            f"{cls_bias} has {num_scores} channels and {reg_bias} {num_offsets}, which gives no whole number of "
            "classes: the file is damaged or has another format"
        )
    return 4 * num_scores // num_offsets


def to_prior_major(header: Tensor, num_priors: int) -> Tensor:
    """Reorder a value-major header, in which channel v * A + a holds value v of prior a."""
    return header.unflatten(0, (-1, num_priors)).transpose(0, 1).flatten(0, 1)


def take_values(header: Tensor, num_values: int, indices: Sequence[int]) -> Tensor:
    """Select the values ``indices`` of the ``num_values`` of each prior."""
    return header.unflatten(0, (-1, num_values))[:, torch.as_tensor(indices)].flatten(0, 1)


def background_first(header: Tensor, num_classes: int) -> Tensor:
    """Move the background from the last class to the first."""
    return take_values(header, num_classes, [num_classes - 1, *range(num_classes - 1)])


def take_priors(header: Tensor, num_priors: int, indices: Sequence[int]) -> Tensor:
    """Reorder the priors of a cell."""
    return header.unflatten(0, (num_priors, -1))[torch.as_tensor(indices)].flatten(0, 1)


def with_headers(weights: StateDict, pattern: str, change: Callable[[Tensor], Tensor]) -> StateDict:
    """Apply ``change`` to the headers whose whole name matches a regular expression; errors name the tensor."""
    changed = dict(weights)
    for name, value in weights.items():
        if re.fullmatch(pattern, name):
            try:
                changed[name] = change(value)
            except (RuntimeError, IndexError) as error:  # IndexError: a scalar
                raise CheckpointError(f"{name}: {error}") from error
    return changed


def with_coco_classes(converted: Converted) -> Converted:
    """Keep the classes of COCO of 91 slots, which are category ids; another number of classes is the user's own."""
    if count_classes(converted.weights) != NUM_SLOTS:
        return converted
    last = rf"{re.escape(CLS_HEADERS)}\.\d+\.(conv\.3\.|1\.)?(weight|bias)"
    weights = with_headers(converted.weights, last, partial(take_values, num_values=NUM_SLOTS, indices=SLOTS))
    return converted._replace(weights=weights, class_names=COCO_CLASSES, notes=(_SLOTS_NOTE, *converted.notes))


def norm(weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> StateDict:
    """Return the tensors of a batch norm."""
    values = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": variance}
    return {**values, "num_batches_tracked": torch.tensor(0)}


def folded_norm(bias: Tensor) -> StateDict:
    """Return a batch norm that only adds ``bias`` in evaluation: one that was folded into its convolution."""
    return norm(torch.ones_like(bias), bias, torch.zeros_like(bias), torch.full_like(bias, 1 - BatchNorm2d(1).eps))


def with_depthwise_biases(weights: StateDict) -> StateDict:
    """Add zero biases to the depthwise convolutions of separable headers in our names, which have biases here."""
    filled: StateDict = {}
    for name, value in weights.items():
        filled[name] = value
        if re.fullmatch(r"box_head\.predictor\.\w+_headers\.\d+\.conv\.0\.weight", name):
            filled[name.removesuffix("weight") + "bias"] = value.new_zeros(value.shape[:1])
    return filled


def vgg_names(convs: Sequence[str], extras: Sequence[str]) -> dict[str, str]:
    """Return our layer names by those of a port of VGG SSD, whose names are given in the order of the layers."""
    names = {name: f"backbone.vgg.{conv}" for name, conv in zip(convs, VGG_CONVS, strict=True)}
    return names | {name: f"backbone.extras.{index}" for index, name in enumerate(extras)}


def header_names(cls: str, reg: str, levels: Iterable[Any] = range(_MAX_LEVELS)) -> dict[str, str]:
    """Return our names of headers by theirs, patterns with the name of each level in place of {}."""
    pairs = ((cls, CLS_HEADERS), (reg, REG_HEADERS))
    return {theirs.format(level): f"{ours}.{n}" for n, level in enumerate(levels) for theirs, ours in pairs}


def layer_rules(names: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the rules of ``rename`` for tensors named like a key, or a key and one more part such as ".weight"."""
    return [(rf"{re.escape(theirs)}((?:\.\w+)?)", rf"{ours}\1") for theirs, ours in names.items()]
