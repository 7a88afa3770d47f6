"""The tensors of VGG SSD300 and SSD512, of which every port has the same under names of its own."""

import re
from collections.abc import Mapping, Sequence

from ssd.weights.formats.headers import CLS_HEADERS, REG_HEADERS
from ssd.weights.formats.source import StateDict

# Numbers of the convolutions of VGG16 up to fc7, where ReLUs and pools count: ten up to conv4_3, conv5, fc6, fc7.
CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 31, 33)
L2_NORM = "backbone.l2_norm.weight"

_MAX_LEVELS = 7  # SSD512


def vgg_names(
    *, convs: Sequence[str], extras: Sequence[str], cls_headers: Sequence[str], reg_headers: Sequence[str]
) -> dict[str, str]:
    """Return our names, without ".weight" and ".bias", by those of a port.

    Args:
        convs: the port's names of VGG16's convolutions in order.
        extras: of the extra convolutions in order.
        cls_headers: of the classification headers, level by level.
        reg_headers: of the regression headers.
    """
    return {
        **{name: f"backbone.vgg.{conv}" for name, conv in zip(convs, CONVS, strict=True)},
        **{name: f"backbone.extras.{index}" for index, name in enumerate(extras)},
        **{name: f"{CLS_HEADERS}.{level}" for level, name in enumerate(cls_headers)},
        **{name: f"{REG_HEADERS}.{level}" for level, name in enumerate(reg_headers)},
    }


def level_names(pattern: str) -> list[str]:
    """``pattern`` with the number of each level in place of {}."""
    return [pattern.format(level) for level in range(_MAX_LEVELS)]


def rules(names: Mapping[str, str]) -> list[tuple[str, str]]:
    """What ``rename`` does to tensors whose names are these keys, or have one more part."""
    return [(rf"{re.escape(theirs)}((?:\.\w+)?)", rf"{ours}\1") for theirs, ours in names.items()]


def inverse_rules(names: Mapping[str, str]) -> list[tuple[str, str]]:
    """The way back of ``rules``."""
    return rules({ours: theirs for theirs, ours in names.items()})


def is_ssd512(weights: StateDict) -> bool:
    """Whether weights in our names have the seventh level of SSD512."""
    return f"{CLS_HEADERS}.6.bias" in weights
