"""SSD300 of torchvision (ssd300_vgg16): bare state dicts."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ssd.utils.errors import CheckpointError
from ssd.weights.formats.headers import CLS_HEADERS, count_classes, take_values, with_headers
from ssd.weights.formats.source import Converted, Source, StateDict, rename
from ssd.weights.formats.target import Target
from ssd.weights.formats.torchvision_settings import differences
from ssd.weights.formats.torchvision_slots import NOTE, NUM_SLOTS, SLOTS
from ssd.weights.formats.vgg import (
    CONVS,
    L2_NORM,
    inverse_rules,
    is_ssd512,
    level_names,
    rules,
    vgg_names,
)

_NAMES = {
    "backbone.scale_weight": L2_NORM,
    **vgg_names(
        convs=[
            *(f"backbone.features.{conv}" for conv in CONVS[:10]),
            *(f"backbone.extra.0.{index}" for index in ("1", "3", "5", "7.1", "7.3")),
        ],
        extras=[f"backbone.extra.{pair}.{index}" for pair in range(1, 5) for index in (0, 2)],
        cls_headers=level_names("head.classification_head.module_list.{}"),
        reg_headers=level_names("head.regression_head.module_list.{}"),
    ),
}

# Score of a slot without a class. Softmax pushes the scores of a prior by amounts that sum to 0, so those of a trained
# detector lie around 0 and the highest above; next to it exp(-30) is nothing in float32.
_UNUSED_BIAS = -30.0


def convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    """Convert a detector of torchvision; of 91 slots, those of COCO's classes are kept, other numbers are one's own.

    Raises:
        CheckpointError: the headers of the first level are missing, headers do not go together, or a name is
            unexpected.
    """
    ours = rename(weights, rules(_NAMES))
    config = "interop/torchvision_ssd300_coco"
    if count_classes(ours) != NUM_SLOTS:
        return Converted(ours, config)
    classes_alone = partial(take_values, num_values=NUM_SLOTS, indices=SLOTS)
    return Converted(with_headers(ours, rf"{CLS_HEADERS}\..+", classes_alone), config, notes=(NOTE,))


def restore(weights: StateDict, class_names: Sequence[str]) -> dict[str, Any]:
    """Give weights torchvision's names; 81 classes are taken for those of COCO and get its 91 slots.

    Args:
        weights: of a VGG SSD300, in our names.
        class_names: not in such a file.

    Raises:
        CheckpointError: they are of another network.
    """
    if L2_NORM not in weights or is_ssd512(weights):
        raise CheckpointError(
            "torchvision has VGG16 with the six levels of SSD300 only, and these weights are of another"
        )
    if count_classes(weights) == len(SLOTS):
        weights = with_headers(weights, rf"{CLS_HEADERS}\..+", _spread)
    return rename(weights, inverse_rules(_NAMES))


def _spread(header: Tensor) -> Tensor:
    """Put 81 classes into 91 slots; the others never win."""
    classes = header.unflatten(0, (-1, len(SLOTS)))
    unused = _UNUSED_BIAS if header.dim() == 1 else 0.0
    slots = classes.new_full((len(classes), NUM_SLOTS, *classes.shape[2:]), unused)
    slots[:, torch.tensor(SLOTS)] = classes
    return slots.flatten(0, 1)


SOURCE = Source(
    name="torchvision",
    title="torchvision's ssd300_vgg16",
    marks=(r"backbone\.scale_weight$", r"head\.classification_head\.module_list\.0\.weight$"),
    convert=convert,
)
TARGET = Target("torchvision", "torchvision's ssd300_vgg16", restore, differences)
