"""SSDLite320 with MobileNetV2 of mmdetection, ``{"meta", "state_dict"}``: the background is the last class.

Its batch norms add 1e-3 to the variance, and the depthwise convolutions of its headers have no biases.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ssd.weights.formats.headers import (
    CLS_HEADERS,
    REG_HEADERS,
    background_first,
    with_depthwise_biases,
    with_headers,
    with_our_eps,
)
from ssd.weights.formats.mmdet_ssd import class_names_of, meta_of
from ssd.weights.formats.source import Converted, Source, StateDict, rename, required
from ssd.weights.formats.vgg import rules

_EPS = 1e-3
# (stage, block) of the inverted residuals in order (MobileNetV2, Table 2).
_BLOCKS = [(stage, block) for stage, count in enumerate((1, 2, 3, 4, 3, 3, 1), start=1) for block in range(count)]
_NUM_EXTRAS = 4
_NUM_LEVELS = 6


def _names() -> dict[str, str]:
    """Our names, without ".weight" and the like, by theirs."""
    names = {}
    units = {"backbone.conv1": "backbone.features.0", "backbone.conv2": f"backbone.features.{len(_BLOCKS) + 1}"}
    for number, (stage, block) in enumerate(_BLOCKS, start=1):
        theirs, ours = f"backbone.layer{stage}.{block}", f"backbone.features.{number}.conv"
        place = 0
        if stage > 1:  # the first block does not expand
            units[f"{theirs}.expand_conv"] = f"{ours}.0"
            place = 1
        units[f"{theirs}.depthwise_conv"] = f"{ours}.{place}"
        names[f"{theirs}.linear_conv.conv"] = f"{ours}.{place + 1}"
        names[f"{theirs}.linear_conv.bn"] = f"{ours}.{place + 2}"
    for index in range(_NUM_EXTRAS):
        for place, layer in enumerate(("0", "1.depthwise_conv", "1.pointwise_conv")):
            units[f"neck.extra_layers.{index}.{layer}"] = f"backbone.extras.{index}.{place}"
    for level in range(_NUM_LEVELS):
        for kind, ours in (("cls", CLS_HEADERS), ("reg", REG_HEADERS)):
            units[f"bbox_head.{kind}_convs.{level}.0"] = f"{ours}.{level}.conv"
            names[f"bbox_head.{kind}_convs.{level}.1"] = f"{ours}.{level}.conv.3"
    for theirs, ours in units.items():
        names |= {f"{theirs}.conv": f"{ours}.0", f"{theirs}.bn": f"{ours}.1"}
    return names


def convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    """Convert an SSDLite of mmdetection.

    Raises:
        CheckpointError: the headers of the first level are missing or do not go together, or a name is unexpected.
    """
    num_scores, num_offsets = (required(weights, f"bbox_head.{kind}_convs.0.1.bias").numel() for kind in ("cls", "reg"))
    num_classes = 4 * num_scores // max(num_offsets, 1)
    ours = with_depthwise_biases(with_our_eps(rename(weights, rules(_names())), _EPS))
    scores = rf"{CLS_HEADERS}\.\d\.conv\.3\.\w+"
    ours = with_headers(ours, scores, partial(background_first, num_classes=num_classes))
    config = "interop/mmdet_ssdlite320_mobilenetv2_coco"
    return Converted(ours, config, class_names=class_names_of(meta_of(content)))


SOURCE = Source(
    name="mmdet-ssdlite",
    title="mmdetection's SSDLite with MobileNetV2",
    marks=(
        r"backbone\.layer7\.0\.linear_conv\.conv\.weight$",
        r"neck\.extra_layers\.0\.1\.depthwise_conv\.conv\.weight$",
        r"bbox_head\.cls_convs\.0\.1\.bias$",
    ),
    convert=convert,
)
