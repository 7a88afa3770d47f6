"""SSD300 and SSD512 of the paper's authors, in Caffe: a .caffemodel of the network for training or for detection."""

from collections.abc import Mapping
from typing import Any

from ssd.modeling.backbone.pretrained import StateDict
from ssd.weights.caffe import named_weights, prior_overrides
from ssd.weights.formats import layouts
from ssd.weights.formats.format import Converted, Format, rename

_LEVELS = ("conv4_3_norm", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2", "conv10_2")
_CONVS = [
    f"conv{stage}_{index}" for stage, count in enumerate((2, 2, 3, 3, 3), start=1) for index in range(1, count + 1)
]
_NAMES = {
    "conv4_3_norm": layouts.L2_NORM.removesuffix(".weight"),
    **layouts.vgg_names(
        [*_CONVS, "fc6", "fc7"], [f"conv{stage}_{index}" for stage in range(6, 11) for index in (1, 2)]
    ),
    **layouts.header_names("{}_mbox_conf", "{}_mbox_loc", _LEVELS),
}


def _convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    ours = rename(named_weights(weights), layouts.layer_rules(_NAMES))
    if "backbone.vgg.0.weight" in ours:
        ours["backbone.vgg.0.weight"] = ours["backbone.vgg.0.weight"].flip(1)  # Caffe reads blue, green, red
    size = 512 if f"{layouts.CLS_HEADERS}.6.bias" in ours else 300
    num_classes = layouts.count_classes(ours)
    config = f"interop/weiliu89_ssd{size}_{'voc' if num_classes == 21 else 'coco'}"
    overrides = prior_overrides(content, config)
    notes: tuple[str, ...] = ()
    if num_classes not in (21, 81) and "layers" not in content:
        notes = (f"The priors are taken for those of {config}; see MODEL.PRIORS.",)
    return Converted(ours, config, overrides, notes=notes)


_MARKS = (r"conv1_1\.0$", r"fc7\.0$", r"conv4_3_norm\.0$", r"conv4_3_norm_mbox_conf\.1$")
FORMATS = (Format("weiliu89", "VGG16 SSD of the paper's authors (weiliu89/caffe)", _MARKS, _convert),)
