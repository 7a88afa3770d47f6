"""SSDs with a feature pyramid of TensorFlow's Object Detection API: MobileNetV2 FPNLite, MobileNetV1 and ResNet-50 FPN.

Names are paths of objects (checkpoints of TensorFlow 2) or those of Keras' layers (TFLite files). In the latter, the
batch norms of each level are folded into copies of the kernels that the levels share.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ssd.modeling.anchors.prior_box import Shapes
from ssd.modeling.backbone.pretrained import StateDict
from ssd.utils.errors import CheckpointError
from ssd.weights.formats import layouts, tensorflow
from ssd.weights.formats.format import Converted, Format

_STRIDES = (8, 16, 32, 64, 128)
_SIZES = {True: (320, 320), False: (640, 640)}  # of FPNLite and FPN where neither file nor pipeline.config has it
# Ends of the names of layers, in checkpoints | in TFLite files, and ours.
_LAYERS = (
    ("residual_blocks/1/0|projection_1", "neck.laterals.0"),
    ("residual_blocks/0/0|projection_2", "neck.laterals.1"),
    ("top_layers/0|projection_3", "neck.laterals.2"),
    ("conv_layers/1/.|smoothing_1", "neck.smooths.0"),
    ("conv_layers/0/.|smoothing_2", "neck.smooths.1"),
    ("_coarse_feature_layers/0/.|bottom_up_Conv2d_(14|20)", "neck.extras.0"),
    ("_coarse_feature_layers/1/.|bottom_up_Conv2d_(15|21)", "neck.extras.1"),
    ("_box_encoder_layers/0|WeightSharedConvolutionalBoxHead/BoxPredictor", f"{layouts.REG_HEADERS}.0"),
    ("_class_predictor_layers/0|WeightSharedConvolutionalClassHead/ClassPredictor", f"{layouts.CLS_HEADERS}.0"),
)
# A tensor that only one backbone has.
_BACKBONES = {
    "backbone.conv1.weight": "resnet50_v1",
    "backbone.features.1.0.weight": "mobilenet_v1",
    "backbone.features.1.conv.1.weight": "mobilenet_v2",
}
_SAME_KERNELS = 0.01  # relative to the largest weight
_SIZE_NOTE = "The size of the input is not in the file, nor in a pipeline.config next to it; {} x {} pixels are taken."


def _convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    is_light = any(re.search(r"(_box_encoder_layers/0|BoxHead/BoxPredictor)/depthwise", name) for name in weights)
    ours = _rename(_with_shared_kernels(weights), is_light)
    backbone = next((name for key, name in _BACKBONES.items() if key in ours), "")
    if is_light != (backbone == "mobilenet_v2"):
        raise CheckpointError("FPN is known with MobileNetV1 and ResNet-50, FPNLite with MobileNetV2")
    size = height, width = content.get("input_size", _SIZES[is_light])
    notes = () if "input_size" in content else (_SIZE_NOTE.format(height, width),)
    network = f"{backbone}_fpnlite_{640 if size == (640, 640) else 320}" if is_light else f"{backbone}_fpn_640"
    overrides = tensorflow.input_overrides({**content, "input_size": size})
    overrides += ["MODEL.PRIORS.OFFSETS", tuple(tuple(first_center(side, n) for side in size) for n in _STRIDES)]
    if "anchors" in content:
        count = ours[f"{layouts.REG_HEADERS}.0{'.1' if is_light else ''}.bias"].numel() // 4
        levels = [(_centers(height, n), _centers(width, n), count) for n in _STRIDES]
        usual = [anchor_shapes(stride) for stride in _STRIDES]
        shapes = tensorflow.other_shapes(content["anchors"], size, levels, usual)
        overrides += [] if shapes is None else ["MODEL.PRIORS.SHAPES", tuple(map(tuple, shapes))]
    converted = Converted(ours, f"interop/tensorflow_ssd_{network}_coco", tuple(overrides), notes=notes)
    return layouts.with_coco_classes(converted)


def anchor_shapes(stride: int) -> Shapes:
    """Return the shapes (w, h) of the usual multiscale_anchor_generator: ratios 1, 2, 1/2 of two scales, in pixels."""
    sides = [4 * stride * 2 ** (step / 2) for step in range(2)]
    return [(side * ratio**0.5, side / ratio**0.5) for ratio in (1.0, 2.0, 0.5) for side in sides]


def first_center(side: int, stride: int) -> float:
    """Return the first centre in strides: at the edge of the image where its side is no multiple of the stride."""
    return 0.0 if side % stride else 0.5


def _centers(side: int, stride: int) -> Tensor:
    return (torch.arange(-(-side // stride)) + first_center(side, stride)) * stride / side


def _rename(weights: StateDict, is_light: bool) -> StateDict:
    names, layers = tensorflow.layer_names(False), tensorflow.backbone_layers(weights)
    places = {name: _place(name, is_light) or tensorflow.layer_of(name, names, layers) for name in weights}
    return tensorflow.rename_layers(
        weights, places, r"laterals|convs|headers" + (r"|neck\.\w+\.\d\.0$" if is_light else "")
    )


def _place(name: str, is_light: bool) -> tuple[str, str] | None:
    """Return our layer of the neck or predictor and the last part of a name; None for other names."""
    scope, _, leaf = name.removesuffix(tensorflow.SUFFIX).rpartition("/")
    layer = next((ours for theirs, ours in _LAYERS if re.search(f"/({theirs})(_depthwise_conv)?$", scope)), "")
    if match := re.search(r"/(Box|Class)?PredictionTower/(?:conv2d_)?(\d)(?:/activation_(\d))?$", scope):
        part = f"norms.{match[2]}.{match[3]}" if match[3] else f"convs.{match[2]}"
        layer = f"box_head.predictor.towers.{int(match[1] == 'Class')}.{part}"
    elif match := re.search(r"/_base_tower_layers_for_heads/(box|class)\w+/(\d)/(\d+)$", scope):
        norm = int(match[3]) // 3  # a convolution of no weights, its batch norm and ReLU6
        layer = f"box_head.predictor.towers.{int(match[1] == 'class')}.norms.{norm}.{match[2]}"
    if not layer:
        return None
    if leaf.startswith("depthwise"):
        return f"{layer}.0", leaf
    if is_light and re.search("smooths|extras|convs|headers", layer):
        return f"{layer}.1", leaf
    return (f"{layer}.0" if re.search("smooths|extras", layer) else layer), leaf


def _with_shared_kernels(weights: StateDict) -> StateDict:
    """Return the weights of a TFLite file with one kernel for all levels, and the scales of their norms."""
    found: StateDict = {}
    kernels: dict[str, StateDict] = {}
    for name, value in weights.items():
        if match := re.match(r"(.*PredictionTower/conv2d_\d)/(activation_\d)/weights$", name):
            kernels.setdefault(match[1], {})[match[2]] = value
        elif not re.match(r".*(_depthwise_conv|PredictionTower/conv2d_\d)/biases$", name):
            found[name] = value
        elif value.any():
            raise CheckpointError(f"unexpected tensor: {name}, which is not zero")
    for conv, levels in kernels.items():
        stacked = torch.stack([*levels.values()])  # (L, h, w, I, O)
        flat = stacked.flatten(1, 3)  # (L, h * w * I, O)
        largest = flat.square().sum(1).argmax(0)  # (O,) level, since the scale of a level may be zero
        shared = flat[largest, :, torch.arange(len(largest))].T  # (h * w * I, O)
        scales = (flat * shared).sum(1) / shared.square().sum(0).clamp(min=1e-30)  # (L, O)
        if (flat - scales[:, None] * shared).abs().max() > _SAME_KERNELS * flat.abs().max():
            raise CheckpointError(f"the levels do not share the kernel of {conv}")
        found[f"{conv}/weights"] = shared.view(stacked.shape[1:])
        found |= {f"{conv}/{level}/gamma": scale for level, scale in zip(levels, scales, strict=True)}
    return found


_MARKS = (
    r".*(_feature_extractor/_fpn_features_generator/|_keras_feature_extractor/FeatureMaps/top_down/)",
    r".*(_box_predictor/_head_scope_conv_layers/|WeightSharedConvolutionalBoxPredictor/\w*PredictionTower/)",
)
FORMATS = (Format("tensorflow-fpn", "an SSD with FPN of TensorFlow's Object Detection API", _MARKS, _convert),)
