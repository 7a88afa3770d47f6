"""OpenCV's face detector, res10_300x300_ssd_iter_140000[_fp16].caffemodel: a ResNet-10 of pre-activations, in Caffe."""

from collections.abc import Mapping
from typing import Any

from ssd.modeling.backbone.pretrained import StateDict
from ssd.weights.caffe import named_weights, norm_weights, prior_overrides
from ssd.weights.formats import layouts
from ssd.weights.formats.format import Converted, Format, rename

_CONFIG = "interop/opencv_res10_face"
_STEM, _BLOCKS, _NORMS = "backbone.stem", "backbone.blocks", "backbone.norms"
# Their BatchNorm and Scale layers by our name.
_NORM_LAYERS = {
    f"{_STEM}.0": ("data_bn", "data_scale"),
    f"{_STEM}.2": ("conv1_bn_h", "conv1_scale_h"),
    f"{_BLOCKS}.0.norm": ("layer_64_1_bn2_h", "layer_64_1_scale2_h"),
    f"{_NORMS}.0": ("layer_128_1_bn1_h", "layer_128_1_scale1_h"),
    f"{_BLOCKS}.1.norm": ("layer_128_1_bn2", "layer_128_1_scale2"),
    f"{_NORMS}.1": ("layer_256_1_bn1", "layer_256_1_scale1"),
    f"{_BLOCKS}.2.norm": ("layer_256_1_bn2", "layer_256_1_scale2"),
    f"{_NORMS}.2": ("layer_512_1_bn1", "layer_512_1_scale1"),
    f"{_BLOCKS}.3.norm": ("layer_512_1_bn2_h", "layer_512_1_scale2_h"),
    f"{_NORMS}.3": ("last_bn_h", "last_scale_h"),
}
_LEVELS = ("conv4_3_norm", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2")
_RULES = (
    (r"conv1_h\.(.+)", rf"{_STEM}.1.\1"),
    *(
        (rf"layer_{width}_1_{theirs}(?:_h)?\.weight", rf"{_BLOCKS}.{number}.{ours}.weight")
        for number, width in enumerate((64, 128, 256, 512))
        for theirs, ours in (("conv1", "conv1"), ("conv2", "conv2"), ("conv_expand", "shortcut"))
    ),
    *(
        (rf"conv{6 + index}_{1 + place // 2}_h\.(.+)", rf"backbone.extras.{index}.{place}.\1")
        for index in range(4)
        for place in (0, 2)
    ),
    *layouts.layer_rules({"conv4_3_norm": layouts.L2_NORM.removesuffix(".weight")}),
    *layouts.layer_rules(layouts.header_names("{}_mbox_conf", "{}_mbox_loc", _LEVELS)),
)


def _convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    norm_layers = {layer for layers in _NORM_LAYERS.values() for layer in layers}
    others = {name: value for name, value in weights.items() if name.rpartition(".")[0] not in norm_layers}
    ours = rename(named_weights(others), _RULES)
    for name, layers in _NORM_LAYERS.items():
        ours |= {f"{name}.{key}": value for key, value in norm_weights(weights, *layers).items()}
    # Caffe reads blue, green, red.
    ours |= {name: ours[name].flip(0) for name in list(ours) if name.startswith(f"{_STEM}.0.") and ours[name].ndim}
    if f"{_STEM}.1.weight" in ours:
        ours[f"{_STEM}.1.weight"] = ours[f"{_STEM}.1.weight"].flip(1)
    names = ("face",) if layouts.count_classes(ours) == 2 else None
    return Converted(ours, _CONFIG, prior_overrides(content, _CONFIG), names)


_MARKS = (r"data_bn\.0$", r"layer_512_1_conv2_h\.0$", r"conv4_3_norm_mbox_conf\.1$")
FORMATS = (Format("opencv-res10", "OpenCV's face detector res10 in Caffe", _MARKS, _convert),)
