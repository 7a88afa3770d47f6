"""SSD300 (ssd300_vgg16) and SSDLite (ssdlite320_mobilenet_v3_large) of torchvision: bare state dicts.

A label of its COCO detectors is a category id, and ten of the 91 labels have no category. The SSDLite backbone has a
reduced tail if it was trained from random weights, as in the published file, and the whole one if from ImageNet.
"""

from collections.abc import Mapping
from typing import Any

from ssd.modeling.backbone.pretrained import StateDict, adapt_variances
from ssd.weights.formats import layouts
from ssd.weights.formats.format import Converted, Format, rename, require

_SSD300_NAMES = {
    "backbone.scale_weight": layouts.L2_NORM,
    **layouts.vgg_names(
        [
            *(f"backbone.features.{conv}" for conv in layouts.VGG_CONVS[:10]),
            *(f"backbone.extra.0.{index}" for index in ("1", "3", "5", "7.1", "7.3")),
        ],
        [f"backbone.extra.{pair}.{index}" for pair in range(1, 5) for index in (0, 2)],
    ),
    **layouts.header_names("head.classification_head.module_list.{}", "head.regression_head.module_list.{}"),
}
_SSDLITE_RULES = (
    # Block 13 is split: its expansion ends features.0, and features.1 begins with the rest.
    (r"backbone\.features\.0\.13\.(.+)", r"backbone.features.13.conv.0.\1"),
    (r"backbone\.features\.1\.0\.(.+)", r"backbone.features.13.conv.\1"),
    (r"backbone\.features\.0\.(\d+)\.block\.(.+)", r"backbone.features.\1.conv.\2"),
    (r"backbone\.features\.1\.1\.block\.(.+)", r"backbone.features.14.conv.\1"),
    (r"backbone\.features\.1\.2\.block\.(.+)", r"backbone.features.15.conv.\1"),
    (r"backbone\.features\.1\.3\.(.+)", r"backbone.features.16.\1"),
    (r"backbone\.features\.0\.0\.(.+)", r"backbone.features.0.\1"),
    (r"backbone\.extra\.(.+)", r"backbone.extras.\1"),
    *(
        (rf"head\.{theirs}_head\.module_list\.(\d+)\.{index}\.(.+)", rf"{ours}.\1.{place}.\2")
        for theirs, ours in (("classification", layouts.CLS_HEADERS), ("regression", layouts.REG_HEADERS))
        for index, place in enumerate(("conv", "conv.3"))
    ),
)
_SSDLITE_EPS = 1e-3  # of its batch norms
_LAST_LAYER = "backbone.features.16.0.weight"
_WHOLE_CHANNELS = 960  # of the last layer; the reduced tail has half of them


def _convert_ssd300(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    ours = rename(weights, layouts.layer_rules(_SSD300_NAMES))
    return layouts.with_coco_classes(Converted(ours, "interop/torchvision_ssd300_coco"))


def _convert_ssdlite(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    ours = layouts.with_depthwise_biases(adapt_variances(rename(weights, _SSDLITE_RULES), _SSDLITE_EPS))
    require(ours, _LAST_LAYER)
    is_whole = ours[_LAST_LAYER].shape[:1] == (_WHOLE_CHANNELS,)
    overrides = ("MODEL.BACKBONE.NAME", "mobilenet_v3_ssdlite") if is_whole else ()
    config = "interop/torchvision_ssdlite320_mobilenet_v3_large_coco"
    return layouts.with_coco_classes(Converted(ours, config, overrides))


_SSD300_MARKS = (r"backbone\.scale_weight$", r"head\.classification_head\.module_list\.0\.weight$")
_SSDLITE_MARKS = (
    r"backbone\.features\.0\.1\.block\.0\.0\.weight$",
    r"backbone\.extra\.0\.0\.0\.weight$",
    r"head\.classification_head\.module_list\.0\.0\.0\.weight$",
)
FORMATS = (
    Format("torchvision", "torchvision's ssd300_vgg16", _SSD300_MARKS, _convert_ssd300),
    Format("torchvision-ssdlite", "torchvision's ssdlite320_mobilenet_v3_large", _SSDLITE_MARKS, _convert_ssdlite),
)
