"""SSDs with a feature pyramid of TensorFlow's Object Detection API: MobileNetV2 FPNLite and MobileNetV1 FPN.

Names are paths of objects (checkpoints of TensorFlow 2) or those of Keras' layers (TFLite files). In the latter, the
batch norms of each level are folded into copies of the kernels that the levels share.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from ssd.modeling.anchors.prior_box import Shapes
from ssd.modeling.backbone.pretrained import StateDict
from ssd.utils.errors import CheckpointError
from ssd.weights.formats import layouts, tensorflow
from ssd.weights.formats.format import Converted, Format

_STRIDES = (8, 16, 32, 64, 128)
_SIZES = {True: (320, 320), False: (640, 640)}  # of FPNLite and FPN where neither file nor pipeline.config has it
_TOWERS = (
    ("PredictionTower", 0, "box_encodings"),
    ("BoxPredictionTower", 0, "box_encodings"),
    ("ClassPredictionTower", 1, "class_predictions_with_background"),
)
_SCOPES = re.compile(
    r".*?(?:_feature_extractor/(?:FeatureMaps/top_down/)?|WeightSharedConvolutionalBoxPredictor/|_box_predictor/)"
)
_DEPTHWISE_BIAS = re.compile(r".*(_depthwise_conv|PredictionTower/conv2d_\d)/biases$")  # zeros
_SAME_KERNELS = 0.01  # relative to the largest weight
_SIZE_NOTE = (
    "The file does not say the size of its input, and no pipeline.config is beside it; {} x {} pixels are taken."
)


def _convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    if any("layer_with_weights-0/kernel" in name and kernel.shape[:1] == (7,) for name, kernel in weights.items()):
        raise CheckpointError("the backbone is a ResNet; FPN is known with MobileNetV1, FPNLite with MobileNetV2")
    ours = _rename(weights)
    is_light = "neck.smooths.0.2.weight" in ours  # the norm behind two convolutions
    if is_light == ("backbone.features.1.0.weight" in ours):
        raise CheckpointError("FPN is known with MobileNetV1, FPNLite with MobileNetV2 here, not the other way round")
    size = height, width = content.get("input_size", _SIZES[is_light])
    notes = () if "input_size" in content else (_SIZE_NOTE.format(height, width),)
    network = f"mobilenet_v2_fpnlite_{640 if size == (640, 640) else 320}" if is_light else "mobilenet_v1_fpn_640"
    overrides = tensorflow.input_overrides({**content, "input_size": size})
    overrides += ["MODEL.PRIORS.OFFSETS", tuple(tuple(first_center(side, n) for side in size) for n in _STRIDES)]
    if "anchors" in content:
        centers = [
            [(torch.arange(-(-side // n)) + first_center(side, n)) * n / side for side in size] for n in _STRIDES
        ]
        counts = [ours[f"{layouts.REG_HEADERS}.0{'.1' if is_light else ''}.bias"].numel() // 4] * len(_STRIDES)
        usual = [anchor_shapes(stride) for stride in _STRIDES]
        shapes = tensorflow.other_shapes(content["anchors"], size, [(y, x) for y, x in centers], counts, usual)
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


def _rename(weights: StateDict) -> StateDict:
    """Return the weights in our names and layouts."""
    names, convs, scopes = _layer_names(), tensorflow.backbone_convs(weights), tensorflow.layer_names(False)
    places: dict[str, tuple[str, str]] = {}
    for name, value in weights.items():
        if _DEPTHWISE_BIAS.match(name):
            if value.any():
                raise CheckpointError(f"unexpected tensor: {name}, which is not zero")
            continue
        scope, _, leaf = _SCOPES.sub("", name.removesuffix(tensorflow.OBJECT_SUFFIX), count=1).rpartition("/")
        backbone = tensorflow.object_layer(name, convs) or tensorflow.scope_layer(name, scopes)
        places[name] = (names[scope], leaf) if scope in names else backbone
    layers = tensorflow.group_layers({name: weights[name] for name in places}, places)
    ours: StateDict = {}
    for layer, values in _with_shared_kernels(layers).items():
        ours |= _our_tensors(layer, values)
    return tensorflow.with_x_first(ours)


def _our_tensors(layer: str, values: StateDict) -> StateDict:
    """Return the tensors of a convolution, which may be separable, and of the batch norm behind it."""
    if ".norms." in layer:
        return tensorflow.our_norm(layer, values)
    if layer.startswith("backbone."):
        return tensorflow.our_layer(layer, values, has_norm=True)
    has_norm = layer.startswith(("neck.smooths.", "neck.extras."))
    if "depthwise" not in values:
        return tensorflow.our_layer(f"{layer}.0" if has_norm else layer, values, has_norm=has_norm)
    depthwise = {"depthwise": values["depthwise"]}
    pointwise = {name: value for name, value in values.items() if name != "depthwise"}
    return {
        **tensorflow.our_layer(f"{layer}.0", depthwise, has_norm=False),
        **tensorflow.our_layer(f"{layer}.1", pointwise, has_norm=has_norm),
    }


def _with_shared_kernels(layers: Mapping[str, StateDict]) -> dict[str, StateDict]:
    """Split the kernels of each level, each with its batch norm, into one kernel for all and weights of the norms."""
    split = dict(layers)
    norms: dict[str, list[str]] = {}
    for layer, values in layers.items():
        if ".norms." in layer and "weight" in values:
            norms.setdefault(re.sub(r"norms\.(\d)\.\d$", r"convs.\1", layer), []).append(layer)
    for conv, levels in norms.items():
        kernels = torch.stack([layers[level]["weight"] for level in levels])  # (L, h, w, I, O)
        flat = kernels.flatten(1, 3)  # (L, h * w * I, O)
        largest = flat.square().sum(1).argmax(0)  # (O,) level, since the norm of a level may be zero
        shared = flat[largest, :, torch.arange(len(largest))].T  # (h * w * I, O)
        scales = (flat * shared).sum(1) / shared.square().sum(0).clamp(min=1e-30)  # (L, O)
        if (flat - scales[:, None] * shared).abs().max() > _SAME_KERNELS * flat.abs().max():
            raise CheckpointError(f"the levels do not share the kernel of {conv}")
        split[conv] = {**layers.get(conv, {}), "weight": shared.view(kernels.shape[1:])}
        for level, scale in zip(levels, scales, strict=True):
            split[level] = {"gamma": scale, "bias": layers[level]["bias"]}
    return split


@cache
def _layer_names() -> dict[str, str]:
    """Return our layers of neck and predictor by the names of theirs, without scopes."""
    generator, predictor = "_fpn_features_generator", "box_head.predictor"
    names = {f"{generator}/top_layers/0": "neck.laterals.2", "projection_3": "neck.laterals.2"}
    for n in range(2):
        names |= {
            f"{generator}/residual_blocks/{1 - n}/0": f"neck.laterals.{n}",
            f"projection_{n + 1}": f"neck.laterals.{n}",
        }
        names |= {f"{generator}/conv_layers/{1 - n}/{part}": f"neck.smooths.{n}" for part in range(2)}
        names |= {f"_coarse_feature_layers/{n}/{part}": f"neck.extras.{n}" for part in range(2)}
        for end in ("", "_depthwise_conv"):
            names[f"smoothing_{n + 1}{end}"] = f"neck.smooths.{n}"
            names |= {f"bottom_up_Conv2d_{first + n}{end}": f"neck.extras.{n}" for first in (14, 20)}
    for tower, place, head in _TOWERS:
        for n in range(4):
            for name in (f"_head_scope_conv_layers/{tower}/{n}", f"{tower}/conv2d_{n}"):
                names[name] = f"{predictor}.towers.{place}.convs.{n}"
            for level in range(len(_STRIDES)):
                base = f"_base_tower_layers_for_heads/{head}/{level}/{3 * n + 1}"
                for name in (base, f"{tower}/conv2d_{n}/activation_{level}"):
                    names[name] = f"{predictor}.towers.{place}.norms.{n}.{level}"
    classes = "_prediction_heads/class_predictions_with_background/_class_predictor_layers/0"
    for name in ("_box_prediction_head/_box_encoder_layers/0", "WeightSharedConvolutionalBoxHead/BoxPredictor"):
        names[name] = f"{layouts.REG_HEADERS}.0"
    for name in (classes, "WeightSharedConvolutionalClassHead/ClassPredictor"):
        names[name] = f"{layouts.CLS_HEADERS}.0"
    return names


FORMATS = (
    Format(
        name="tensorflow-fpn",
        title="an SSD with FPN of TensorFlow's Object Detection API",
        marks=(
            r".*(_feature_extractor/_fpn_features_generator/|_keras_feature_extractor/FeatureMaps/top_down/)",
            r".*(_box_predictor/_head_scope_conv_layers/|WeightSharedConvolutionalBoxPredictor/\w*PredictionTower/)",
        ),
        convert=_convert,
    ),
)
