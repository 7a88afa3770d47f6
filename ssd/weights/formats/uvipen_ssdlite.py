"""SSDLite300 with MobileNetV2 of uvipen/SSD-pytorch: {"epoch", "model_state_dict", "optimizer", "scheduler"}.

The channels of the headers are value-major, as in uvipen's SSD300 with ResNet-50. Headers for a seventh level, a
pointwise convolution each, are in the file but take part in nothing.
"""

from collections.abc import Mapping
from typing import Any

from ssd.weights.formats.nvidia import prior_major
from ssd.weights.formats.source import Converted, Source, StateDict, rename

_NAMES = (
    (r"feature_extractor\.feature_extractor\.(.+)", r"backbone.features.\1"),
    (r"additional_blocks\.(.+)", r"backbone.extras.\1"),
    (r"loc\.(\d)\.(.+)", r"box_head.predictor.reg_headers.\1.conv.\2"),
    (r"conf\.(\d)\.(.+)", r"box_head.predictor.cls_headers.\1.conv.\2"),
)
_UNUSED = (r"(loc|conf)\.6\.(weight|bias)",)


def convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    """Convert uvipen's SSDLite.

    Raises:
        CheckpointError: a name is unexpected, or the channels of a header do not fit.
    """
    return Converted(
        rename(prior_major(weights, last="3."), _NAMES, dropped=_UNUSED),
        "interop/uvipen_ssdlite300_mobilenetv2_coco",
        notes=("loc.6 and conf.6 were left out: that network has six levels, and does not use them.",),
    )


SOURCE = Source(
    name="uvipen-ssdlite",
    title="uvipen's SSDLite300 with MobileNetV2",
    marks=(
        r"feature_extractor\.feature_extractor\.18\.0\.weight$",
        r"additional_blocks\.0\.conv\.0\.0\.weight$",
        r"conf\.0\.3\.weight$",
    ),
    convert=convert,
)
