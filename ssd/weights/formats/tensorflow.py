"""SSDs of TensorFlow's Object Detection API: ssd_mobilenet_v1, ssd_mobilenet_v2 and ssdlite_mobilenet_v2.

A layer has three names: that of its variables in TensorFlow 1 (checkpoints, frozen graphs, most TFLite files), that of
Keras (TFLite files of TensorFlow 2) and a path of objects (checkpoints of TensorFlow 2). Kernels are (h, w, I, O) or,
depthwise, (h, w, C, 1), offsets (y, x, h, w), and batch norms add 1e-3 to the variance; TFLite files have none.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ssd.modeling.anchors.prior_box import Shapes
from ssd.modeling.backbone.pretrained import StateDict, adapt_variances
from ssd.utils.errors import CheckpointError, join_some
from ssd.weights.formats import layouts
from ssd.weights.formats.format import Converted, Format, require

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"  # of names in checkpoints of TensorFlow 2
_EPS = 1e-3  # of the batch norms
_IMAGE_SIZE = (300, 300)  # (height, width) where the file does not say it
_LEAVES = {
    **dict.fromkeys(("weights", "kernel", "pointwise_kernel"), "weight"),
    **dict.fromkeys(("depthwise_weights", "depthwise_kernel"), "depthwise"),
    **dict.fromkeys(("biases", "bias"), "bias"),
    **{f"{scope}{leaf}": leaf for scope in ("", "BatchNorm/") for leaf in ("gamma", "beta")},
    **{f"{scope}moving_{leaf}": leaf for scope in ("", "BatchNorm/") for leaf in ("mean", "variance")},
}
# What stands in front of the layer of a name, and what Keras and TFLite files put behind it.
_SCOPES = re.compile(
    r"(?:.*/)?(?:MobilenetV[12]|[Mm]odel|functional_\d+|FeatureMaps|\w+_keras_feature_extractor|BoxPredictor(?=/))/"
)
_ENDS = re.compile(r"(_conv|_batchnorm|_relu|_bn|_BN)+$|(?<=_1x1)_\d+|(?<=_3x3_s2)_\d+")
_HEADS = {"BoxEncodingPredictor": layouts.REG_HEADERS, "ClassPredictor": layouts.CLS_HEADERS}
_OBJECT_HEADS = {"box_encodings": layouts.REG_HEADERS, "class_predictions_with_background": layouts.CLS_HEADERS}
# Names that are no weights of the network: of optimizers, averages and simulated quantisation.
_DROPPED = re.compile(
    r".*(/Momentum|/RMSProp|/Adam|/ExponentialMovingAverage|_quant/|\.OPTIMIZER_SLOT)|.*(global_step|save_counter)"
    r"|(?!.*(FeatureExtractor|_feature_extractor|BoxPredictor|_box_predictor))"
)
_PRIORS_NOTE = (
    "The priors are those of the usual ssd_anchor_generator for 300 pixels, scales 0.2 to 0.95; pipeline.config of the "
    "training says whether it had others (INPUT.IMAGE_SIZE, MODEL.PRIORS.SHAPES). Graphs of June 2017 have the last "
    "shape of a level as its second."
)
_FILE_PRIORS_NOTE = (
    "The shapes of the priors are those in the file; they are not those of the usual ssd_anchor_generator."
)
_SAME_SHAPES = 0.005  # relative to the image; TFLite files may have the priors in 8 bits


def _convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    is_lite = any(re.search(r"(Predictor_depthwise|/_box_encoder_layers/0/depthwise_kernel)", name) for name in weights)
    ours = _rename(weights, is_lite)
    is_v1 = "backbone.features.1.0.weight" in ours
    if is_v1 and is_lite:
        raise CheckpointError("SSDLite with MobileNetV1 is not known here, only with MobileNetV2")
    config = f"interop/tensorflow_{'ssdlite' if is_lite else 'ssd'}_mobilenet_{'v1' if is_v1 else 'v2'}_coco"
    overrides = [*input_overrides(content)]
    if is_v1:
        overrides += ["MODEL.BACKBONE.WIDTH", _shape(ours, "backbone.features.13.3.weight")[0] / 1024]
    shapes, notes = _prior_shapes(content, ours)
    if shapes is not None:
        overrides += ["MODEL.PRIORS.SHAPES", tuple(map(tuple, shapes))]
    converted = Converted(ours, config, tuple(overrides), notes=notes)
    return layouts.with_coco_classes(converted)


def _rename(weights: StateDict, is_lite: bool) -> StateDict:
    """Return the weights in our names and layouts, with identity norms where a file has folded them."""
    names, layers = layer_names(is_lite), backbone_layers(weights)
    places = {name: _object_layer(name, is_lite) or layer_of(name, names, layers) for name in weights}
    return layouts.with_depthwise_biases(rename_layers(weights, places, r"headers\.\d(\.conv\.3)?$"))


def rename_layers(weights: StateDict, places: Mapping[str, tuple[str, str]], without_norm: str) -> StateDict:
    """Return the weights in our names and layouts.

    ``places`` has our layer, "" if it is unknown, and the last part of each name. A layer is a convolution, with the
    norm behind it unless its name matches ``without_norm``, or a norm of its own.
    """
    layers: dict[str, StateDict] = {}
    unexpected: list[str] = []
    for name in (name for name in weights if not _DROPPED.match(name)):
        layer, leaf = places[name]
        if not layer or leaf not in _LEAVES:
            unexpected.append(name)
        else:
            layers.setdefault(layer, {})[_LEAVES[leaf]] = weights[name]
    if unexpected:
        raise CheckpointError(f"unexpected tensors: {join_some(unexpected, 5)}")
    ours: StateDict = {}
    for layer, values in layers.items():
        is_norm = ".norms." in layer
        ours |= _our_norm(layer, values) if is_norm else _our_layer(layer, values, not re.search(without_norm, layer))
    last = rf"{re.escape(layouts.REG_HEADERS)}\.\d\.(conv\.3\.|1\.)?(weight|bias)"
    return layouts.with_headers(ours, last, lambda header: layouts.take_values(header, 4, [1, 0, 3, 2]))


def _our_layer(layer: str, values: StateDict, has_norm: bool) -> StateDict:
    """Return the tensors of a convolution and of the batch norm behind it."""
    kernel = values.get("depthwise", values.get("weight"))
    if kernel is None or kernel.ndim != 4:
        raise CheckpointError(f"missing tensor: the kernel of {layer}")
    ours = {f"{layer}.weight": kernel.permute(2, 3, 0, 1) if "depthwise" in values else kernel.permute(3, 2, 0, 1)}
    if has_norm:
        return {**ours, **_our_norm(_norm_behind(layer), values)}
    return {**ours, f"{layer}.bias": values["bias"]} if "bias" in values else ours


def _norm_behind(conv: str) -> str:
    """Return our name of the batch norm behind a convolution: bn1 behind conv1, else the next of a sequence."""
    if match := re.fullmatch(r"(.*\.)conv(\d)", conv):
        return f"{match[1]}bn{match[2]}"
    return re.sub(r"\d+$", lambda index: str(int(index[0]) + 1), conv)


def _our_norm(norm: str, values: StateDict) -> StateDict:
    """Return the tensors of a batch norm; one that is folded has a bias and, if it is not 1, gamma alone."""
    if "bias" in values:
        folded = layouts.folded_norm(values["bias"])
        folded["weight"] = values.get("gamma", folded["weight"])
        return {f"{norm}.{name}": value for name, value in folded.items()}
    if missing := {"beta", "mean", "variance"} - values.keys():
        raise CheckpointError(f"missing tensors: {', '.join(sorted(missing))} of the batch norm {norm}")
    scale = values.get("gamma", torch.ones_like(values["beta"]))
    own = layouts.norm(scale, values["beta"], values["mean"], values["variance"])
    return adapt_variances({f"{norm}.{name}": value for name, value in own.items()}, _EPS)


def backbone_layers(weights: StateDict) -> list[str]:
    """Return our convolutions by index in checkpoints of TensorFlow 2; batch norms have that of their convolution."""
    for layers in (_RESNET50_LAYERS, _V2_LAYERS):
        if any(f"layer_with_weights-{len(layers) - 1}/" in name for name in weights):
            return layers
    return _V1_LAYERS


def _object_layer(name: str, is_lite: bool) -> tuple[str, str] | None:
    """Return our extra convolution or header of a checkpoint of TensorFlow 2; None for other names."""
    name = name.removesuffix(SUFFIX)
    if match := re.search(r"feature_map_generator/convolutions/(\d)/(\d)/(\w+)$", name):
        level, place = int(match[1]) - 2, int(match[2])
        place = place // 3 * 3  # a convolution, its batch norm and ReLU6
        return (f"backbone.extras.{level}.{f'{place // 3}.0' if is_lite else place}", match[3])
    if match := re.search(r"_box_predictor/_prediction_heads/(\w+)/(\d)/_\w+_layers/(\d)/(\w+)$", name):
        header = f"{_OBJECT_HEADS.get(match[1], '')}.{match[2]}"
        return (f"{header}.conv.{int(match[3]) // 3 * 3}" if is_lite else header, match[4])
    return None


def layer_of(name: str, names: Mapping[str, str], layers: Sequence[str]) -> tuple[str, str]:
    """Return our convolution, "" if it is unknown, and the last part of a name; ``layers``: see backbone_layers."""
    name = name.removesuffix(SUFFIX)
    if match := re.search(r"_feature_extractor/classification_backbone/layer_with_weights-(\d+)/(\w+)$", name):
        index = int(match[1])
        return (layers[index] if index < len(layers) else "", match[2])
    match = re.fullmatch(r"(.+?)/((?:BatchNorm/)?\w+)", name)
    return (names.get(_ENDS.sub("", _SCOPES.sub("", match[1])), ""), match[2]) if match else ("", "")


def _blocks(pattern: str, parts: Sequence[str]) -> list[str]:
    return [pattern.format(block, part) for block in range(1, 17) for part in parts]


_V1_CONVS = ["backbone.features.0.0", *(f"backbone.features.{n}.{i}" for n in range(1, 14) for i in (0, 3))]
_V2_CONVS = [
    *("backbone.features.0.0", "backbone.features.1.conv.0.0", "backbone.features.1.conv.1"),
    *(f"backbone.features.{block}.conv.{part}" for block in range(2, 18) for part in ("0.0", "1.0", "2")),
    "backbone.features.18.0",
]

_V1_LAYERS, _V2_LAYERS = ([conv for conv in convs for _ in range(2)] for convs in (_V1_CONVS, _V2_CONVS))
_RESNET50_LAYERS = ["backbone.conv1"] * 2
for _layer, _blocks_of_layer in enumerate((3, 4, 6, 3), start=1):
    for _block in range(_blocks_of_layer):
        _path = f"backbone.layer{_layer}.{_block}"
        _RESNET50_LAYERS += [f"{_path}.conv{n}" for n in (1, 1, 2, 2)]
        # The convolution of the shortcut and the last one, then the norms of both.
        _RESNET50_LAYERS += [f"{_path}.conv3"] * 2 if _block else [f"{_path}.downsample.0", f"{_path}.conv3"] * 2


@cache
def layer_names(is_lite: bool) -> dict[str, str]:
    """Return our convolutions by the names of layers in TensorFlow 1 and Keras, without scopes and ends."""
    depth, point = "Conv2d_{}_depthwise", "Conv2d_{}_pointwise"
    v1 = ["Conv2d_0", *(name.format(n) for n in range(1, 14) for name in (depth, point))]
    v1_keras = ["conv1", *(f"conv_{kind}_{n}" for n in range(1, 14) for kind in ("dw", "pw"))]
    parts = ("expand", "depthwise", "project")
    v2 = ["Conv", "expanded_conv/depthwise", "expanded_conv/project", *_blocks("expanded_conv_{}/{}", parts), "Conv_1"]
    v2_keras = ["Conv1", "expanded_conv_depthwise", "expanded_conv_project", *_blocks("block_{}_{}", parts), "out"]
    names = {**dict(zip(v1, _V1_CONVS, strict=True)), **dict(zip(v1_keras, _V1_CONVS, strict=True))}
    names |= {**dict(zip(v2, _V2_CONVS, strict=True)), **dict(zip(v2_keras, _V2_CONVS, strict=True))}
    for level in range(4):
        for start in ("Conv2d_13_pointwise", "layer_19"):
            for end, place in ((f"1_Conv2d_{level + 2}_1x1", 0), (f"2_Conv2d_{level + 2}_3x3_s2", 2 if is_lite else 1)):
                names[f"{start}_{end}"] = f"backbone.extras.{level}.{f'{place}.0' if is_lite else 3 * place}"
            names[f"{start}_2_Conv2d_{level + 2}_3x3_s2_depthwise"] = f"backbone.extras.{level}.1.0"
    for level in range(6):
        for head, ours in _HEADS.items():
            box = "Box" if head.startswith("Box") else "Class"
            for scope in (f"BoxPredictor_{level}", f"Convolutional{box}Head_{level}"):
                names[f"{scope}/{head}"] = f"{ours}.{level}{'.conv.3' if is_lite else ''}"
                names[f"{scope}/{head}_depthwise"] = f"{ours}.{level}.conv.0"
    return names


def input_overrides(content: Mapping[str, Any]) -> list[Any]:
    """Return the size of the input and, for 8-bit files, the scale of its pixels."""
    overrides: list[Any] = []
    if "input_size" in content:
        overrides += ["INPUT.IMAGE_SIZE", content["input_size"]]
    mean, std = content.get("input_mean", 0), content.get("input_std", 0)
    if abs(mean - 127.5) < 2 and abs(std - 127.5) < 2:  # else it was quantised for other pixels than its weights expect
        overrides += ["INPUT.PIXEL_MEAN", (mean,) * 3, "INPUT.PIXEL_STD", (std,) * 3]
    return overrides


def _prior_shapes(content: Mapping[str, Any], ours: StateDict) -> tuple[list[Shapes] | None, tuple[str, ...]]:
    """Return PRIORS.SHAPES, None if they are those of the config, and notes on them."""
    height, width = size = content.get("input_size", _IMAGE_SIZE)
    usual = ssd_anchor_shapes(min(size))
    if "anchors" not in content:
        return (None if size == _IMAGE_SIZE else usual), (_PRIORS_NOTE,)
    biases = [name for name in ours if name.startswith(layouts.REG_HEADERS) and name.endswith(("conv.3.bias", ".bias"))]
    counts = [_shape(ours, max(name for name in biases if f"headers.{level}." in name))[0] // 4 for level in range(6)]
    maps = [(-(-height // stride), -(-width // stride)) for stride in (16, 32, 64, 128, 256, 512)]
    levels = [(_centers(rows), _centers(columns), count) for (rows, columns), count in zip(maps, counts, strict=True)]
    shapes = other_shapes(content["anchors"], size, levels, usual)
    if shapes is None:
        return (None if size == _IMAGE_SIZE else usual), ()
    return shapes, (_FILE_PRIORS_NOTE,)


def other_shapes(
    anchors: Tensor, size: tuple[int, int], levels: Sequence[tuple[Tensor, Tensor, int]], usual: Sequence[Shapes]
) -> list[Shapes] | None:
    """Return the shapes (w, h) in pixels of the priors in a file (P, 4), y, x, h, w; None if they are the usual ones.

    ``levels`` have the y of the rows, the x of the columns and the priors of a cell.
    """
    height, width = size
    sizes = [len(y) * len(x) * count for y, x, count in levels]
    if tuple(anchors.shape) != (sum(sizes), 4):
        raise CheckpointError(f"its {len(anchors)} priors do not fit its maps and headers")
    shapes: list[Shapes] = []
    for level, (y, x, count) in zip(anchors.split(sizes), levels, strict=True):
        grid = level.view(len(y), len(x), count, 4)
        expected = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)  # (rows, columns, 2)
        hw = grid[..., 2:].mean((0, 1))  # (A, 2)
        if max(_distance(grid[..., :2], expected[:, :, None]), _distance(grid[..., 2:], hw)) > _SAME_SHAPES:
            raise CheckpointError("the centres of its priors are not where the API puts them")
        shapes.append([(w * width, h * height) for h, w in hw.tolist()])
    is_usual = all(
        len(one) == len(other) and _distance(torch.tensor(one), torch.tensor(other)) < _SAME_SHAPES * min(size)
        for one, other in zip(shapes, usual, strict=True)
    )
    return None if is_usual else [[(round(w, 4), round(h, 4)) for w, h in level] for level in shapes]


def ssd_anchor_shapes(side: int) -> list[Shapes]:
    """Return the shapes (w, h) of the usual ssd_anchor_generator in pixels; ``side`` is the shorter one of the image.

    Six scales from 0.2 to 0.95; the smallest level has three shapes, the others end with the square between two scales.
    """
    scales = [0.2 + 0.15 * level for level in range(6)] + [1.0]
    pairs = [[(0.1, 1.0), (0.2, 2.0), (0.2, 0.5)]]
    for scale, following in pairwise(scales[1:]):
        pairs.append([*((scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 0.3333)), ((scale * following) ** 0.5, 1.0)])
    return [[(side * scale * ratio**0.5, side * scale / ratio**0.5) for scale, ratio in level] for level in pairs]


def _centers(cells: int) -> Tensor:
    return (torch.arange(cells) + 0.5) / cells


def _distance(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item()


def _shape(weights: StateDict, name: str) -> torch.Size:
    require(weights, name)
    return weights[name].shape


_MARKS = (
    r".*(/MobilenetV[12]/|keras_feature_extractor/|_feature_extractor/classification_backbone/)",
    r"(.*/)?(BoxPredictor_0/|BoxPredictor/ConvolutionalBoxHead_0/|_box_predictor/_prediction_heads/\w+/0/)",
)
FORMATS = (Format("tensorflow", "an SSD of TensorFlow's Object Detection API", _MARKS, _convert),)
