"""Weights in a .caffemodel, a NetParameter of caffe.proto: BVLC/caffe, its SSD branch and OpenCV's half precision.

The numbers of fields are those of caffe.proto. A tensor is called LAYER.I, for blob I of a layer.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssd.config import load_config
from ssd.config.files import shipped_config
from ssd.modeling.anchors.prior_box import Shapes, prior_shapes
from ssd.modeling.backbone.pretrained import StateDict
from ssd.utils.errors import CheckpointError
from ssd.weights.formats import layouts
from ssd.weights.formats.format import require
from ssd.weights.formats.reading import CheckpointContent
from ssd.weights.protobuf import Message, floats, ints, messages, parse, text

_HALF = 2  # raw_data_type
_PRIOR_BOX = 203  # field of its parameters


class Layer(NamedTuple):
    """A layer of a network."""

    name: str
    kind: str  # "" in files of the first version of layers
    fields: Message


def read(path: Path, source: str) -> CheckpointContent:
    """Read a .caffemodel; ``content["layers"]`` has its layers in the order of execution."""
    try:
        layers, weights = _read_layers(path.read_bytes())
    except CheckpointError as error:
        raise CheckpointError(f"{source}: not a .caffemodel, or a damaged one ({error}); fetch it again") from error
    if not weights:
        raise CheckpointError(f"{source}: a .caffemodel with {len(layers)} layers, but without weights")
    return CheckpointContent(source, weights, {"layers": layers})


def _read_layers(data: bytes) -> tuple[list[Layer], StateDict]:
    net, layers = parse(data), []
    weights: StateDict = {}
    for number, name_field, blobs_field in ((2, 4, 6), (100, 1, 7)):  # the first and the second version of layers
        for fields in messages(net, number):
            layer = Layer(text(fields, name_field), text(fields, 2) if number == 100 else "", fields)
            layers.append(layer)
            for index, blob in enumerate(messages(fields, blobs_field)):
                weights[f"{layer.name}.{index}"] = _read_blob(blob, f"{layer.name}.{index}")
    if not layers:
        raise CheckpointError("it has no layers")
    return layers, weights


def _read_blob(blob: Message, name: str) -> Tensor:
    shape = next((ints(dims, 1) for dims in messages(blob, 7)), None)
    if shape is None:  # four numbers in old files, 1 in front where there are fewer dimensions
        shape = [next(iter(ints(blob, number)), 1) for number in (1, 2, 3, 4)]
        shape = shape[3:] if math.prod(shape[:3]) == 1 else shape
    if 5 in blob:
        values = floats(blob, 5)
    elif 8 in blob:
        values = floats(blob, 8, "<f8")
    elif ints(blob, 10) in ([], [_HALF]):
        values = floats(blob, 12, "<f2")
    else:
        raise CheckpointError(f"{name} has numbers of type {ints(blob, 10)}; only half precision is known of raw data")
    if min(shape, default=1) < 0 or math.prod(shape) != len(values):
        raise CheckpointError(f"{name} has {len(values)} numbers, but the shape {shape}")
    return torch.from_numpy(values.astype(np.float32)).view(shape)


def named_weights(weights: StateDict) -> StateDict:
    """Call blob 0 of each layer LAYER.weight, and blob 1 LAYER.bias."""
    return {re.sub(r"\.0$", ".weight", re.sub(r"\.1$", ".bias", name)): value for name, value in weights.items()}


def norm_weights(weights: StateDict, stats: str, scale: str) -> StateDict:
    """Return the batch norm of a BatchNorm layer, whose statistics are divided by blob 2, and of a Scale layer."""
    names = [f"{stats}.0", f"{stats}.1", f"{stats}.2", f"{scale}.0", f"{scale}.1"]
    require(weights, *names)
    mean, variance, factor, weight, bias = (weights[name] for name in names)
    count = torch.where(factor.sum() == 0, torch.inf, factor.sum())  # 0 in a network that was not trained
    return layouts.norm(weight, bias, mean / count, variance / count)


def prior_overrides(content: Mapping[str, Any], config: str) -> tuple[Any, ...]:
    """Return what the PriorBox layers of a file set otherwise than a config of configs/; empty if it has none."""
    layers = [layer for layer in content.get("layers", ()) if layer.kind == "PriorBox"]
    boxes = [next(messages(layer.fields, _PRIOR_BOX), {}) for layer in layers]
    if not boxes:
        return ()
    for layer, box in zip(layers, boxes, strict=True):
        found = [*floats(box, 6).astype(float).round(6).tolist(), *floats(box, 13).tolist()]  # variances and offset
        if found not in ([0.1, 0.1, 0.2, 0.2], [0.1, 0.1, 0.2, 0.2, 0.5]) or {11, 12} & box.keys():
            raise CheckpointError(f"layer {layer.name} has the variances and offset {found}, or two steps")
    shapes = [_prior_shapes(box, layer.name) for layer, box in zip(layers, boxes, strict=True)]
    strides = [int(floats(box, 10).sum()) for box in boxes]  # whole pixels; 0: equal shares
    cfg = load_config(shipped_config(config)).MODEL.PRIORS
    lists = zip(cfg.MIN_SIZES, cfg.MAX_SIZES, cfg.ASPECT_RATIOS, strict=True)
    own = _rounded(cfg.SHAPES or [prior_shapes(*level) for level in lists])
    centers = ("stride", strides) if all(strides) else ("map", [])
    return (
        *("MODEL.PRIORS.CLIP", ints(boxes[0], 5)[-1:] == [1]),
        *("MODEL.PRIORS.CENTERS", centers[0], "MODEL.PRIORS.STRIDES", centers[1]),
        *(() if _rounded(shapes) == own else ("MODEL.PRIORS.SHAPES", _rounded(shapes))),
    )


def _prior_shapes(box: Message, name: str) -> Shapes:
    """Return (width, height) of the priors of a cell: for each size a square, the square between, the ratios."""
    small, large, given = (floats(box, number).tolist() for number in (1, 2, 3))
    if not small or len(large) not in (0, len(small)) or not 0 < min(small + large + given) < math.inf:
        raise CheckpointError(f"layer {name} has the sizes {small} and {large}, the ratios {given}")
    flips = ints(box, 4)[-1:] != [0]
    ratios = dict.fromkeys(one for ratio in given for one in ([ratio, 1 / ratio] if flips else [ratio]))
    shapes = []
    for index, size in enumerate(small):
        shapes += [(side, side) for side in [size, *([math.sqrt(size * large[index])] if large else [])]]
        shapes += [(size * math.sqrt(ratio), size / math.sqrt(ratio)) for ratio in ratios if ratio != 1]
    return shapes


def _rounded(levels: Sequence[Shapes]) -> list[list[list[float]]]:
    return [np.round(level, 4).tolist() for level in levels]
