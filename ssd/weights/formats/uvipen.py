"""SSDLite300 with MobileNetV2 of uvipen/SSD-pytorch: {"epoch", "model_state_dict", "optimizer", "scheduler"}.

Headers are value-major. The file has headers for a seventh level that the network does not use. uvipen's SSD300 with
ResNet-50 has the names of NVIDIA's.
"""

from collections.abc import Mapping
from typing import Any

from ssd.modeling.backbone.pretrained import StateDict
from ssd.weights.formats.format import Converted, Format, rename
from ssd.weights.formats.nvidia import prior_major

_RULES = (
    (r"feature_extractor\.feature_extractor\.(.+)", r"backbone.features.\1"),
    (r"additional_blocks\.(.+)", r"backbone.extras.\1"),
    (r"loc\.(\d)\.(.+)", r"box_head.predictor.reg_headers.\1.conv.\2"),
    (r"conf\.(\d)\.(.+)", r"box_head.predictor.cls_headers.\1.conv.\2"),
)
_UNUSED = (r"(loc|conf)\.6\.(weight|bias)",)


def _convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    return Converted(
        rename(prior_major(weights, last="3."), _RULES, dropped=_UNUSED),
        "interop/uvipen_ssdlite300_mobilenetv2_coco",
        notes=("loc.6 and conf.6 were dropped: that network has six levels, and does not use them.",),
    )


_MARKS = (
    r"feature_extractor\.feature_extractor\.18\.0\.weight$",
    r"additional_blocks\.0\.conv\.0\.0\.weight$",
    r"conf\.0\.3\.weight$",
)
FORMATS = (Format("uvipen-ssdlite", "uvipen's SSDLite300 with MobileNetV2", _MARKS, _convert),)
