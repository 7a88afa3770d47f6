"""SSDs of TensorFlow's Object Detection API: recorded ones, and the same weights under the names of other files."""

import itertools
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ssd.config import parse_config
from ssd.modeling.backbone.pretrained import StateDict
from ssd.modeling.box_head import Predictions
from ssd.structures.boxes import center_to_corner
from ssd.structures.class_names import COCO_CLASSES
from ssd.utils.errors import CheckpointError
from ssd.weights.foreign import convert_foreign, find_format, levels_of
from ssd.weights.formats import Converted, layouts
from ssd.weights.formats.reading import CheckpointContent
from ssd.weights.formats.tensorflow import ssd_anchor_shapes
from tests.weights.formats import peers

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
BACKBONE = "model/_feature_extractor/classification_backbone/layer_with_weights-"
NORM_LEAVES = ("gamma", "beta", "moving_mean", "moving_variance")
EXTRAS = "model/_feature_extractor/feature_map_generator/convolutions/"
HEADS = "model/_box_predictor/_prediction_heads/"
V1_LAYERS = ["Conv2d_0", *(f"Conv2d_{n}_{kind}" for n in range(1, 14) for kind in ("depthwise", "pointwise"))]
V2_BLOCKS = [(f"expanded_conv_{n}", part) for n in range(1, 17) for part in ("expand", "depthwise", "project")]
V2_LAYERS = ["Conv", "expanded_conv/depthwise", "expanded_conv/project", *map("/".join, V2_BLOCKS), "Conv_1"]
V2_KERAS = [
    *("Conv1_relu", "expanded_conv_depthwise_relu", "expanded_conv_project_BN"),
    *(f"block_{n}_{end}" for n in range(1, 17) for end in ("expand_relu", "depthwise_relu", "project_BN")),
    "out_relu",
]
OUT = (512, 256, 256, 128)


def fill(name: str, shape: Sequence[int]) -> Tensor:
    """The value of a variable under which the recordings were made (goldens/README.md)."""
    state, leaf = np.random.RandomState(zlib.crc32(name.encode())), name.rpartition("/")[2]
    if leaf in ("moving_variance", "gamma"):
        values = state.uniform(0.5, 1.5, shape)
    elif len(shape) == 1:
        values = state.normal(0, 0.1 if leaf == "moving_mean" else 0.05, shape)
    else:
        values = state.normal(0, np.prod(shape[: 2 if leaf == "depthwise_kernel" else 3]) ** -0.5, shape)
    return torch.from_numpy(values.astype(np.float32))


def read_weights(listing: str) -> StateDict:
    return {name + SUFFIX: fill(name, shape) for name, shape in peers.read_shapes(listing).items()}


@pytest.mark.parametrize(
    "name",
    [
        *("ssd_mobilenet_v1", "ssd_mobilenet_v2", "ssdlite_mobilenet_v2", "ssd_mobilenet_v2_fpnlite_320"),
        pytest.param("ssd_mobilenet_v1_fpn_640", marks=pytest.mark.slow),
        pytest.param("ssd_resnet50_v1_fpn_640", marks=pytest.mark.slow),
    ],
)
def test_recording(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "NUM_SLOTS", 0)  # keep all slots
    recorded = np.load(peers.GOLDENS / "foreign" / f"tensorflow_{name}.npz")
    weights = read_weights(f"tensorflow_{name}")
    sums = [sum(value.double().sum().item() for value in weights.values())]
    np.testing.assert_allclose(sums, recorded["weights_sum_abssum"][:1], rtol=1e-9)
    detector = peers.build(peers.convert(weights))
    head = detector.model.box_head
    np.testing.assert_allclose(head.priors, recorded["priors_all"], rtol=0, atol=3e-7)
    pixels = np.random.RandomState(int(recorded["input_seed"])).normal(0, 1, (1, 3, *recorded["input_size"]))
    with torch.no_grad():
        cls_logits, bbox_pred = detector.model.predict(torch.from_numpy(pixels).float())
    chosen = recorded["prior_index"]
    # The background is no class of a sigmoid, but is kept.
    np.testing.assert_allclose(cls_logits[:, chosen], recorded["class_logits"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(bbox_pred[:, chosen], recorded["box_deltas"], rtol=0, atol=1e-5)
    boxes = center_to_corner(head.box_coder.decode(bbox_pred[:, chosen], head.priors[chosen]))
    np.testing.assert_allclose(boxes[0], recorded["boxes"], rtol=0, atol=1e-6)
    (found,) = head.detect(drawn_predictions(recorded))
    assert found["labels"].tolist() == recorded["syn_labels"].tolist()
    np.testing.assert_allclose(found["scores"], recorded["syn_scores"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["boxes"] / found.img_width, recorded["syn_boxes"], rtol=0, atol=1e-6)


def drawn_predictions(recorded: Mapping[str, np.ndarray]) -> Predictions:
    shape = (1, len(recorded["priors_all"]))
    cls_logits = np.random.RandomState(int(recorded["syn_logit_seed"])).normal(-4, 2, (*shape, 91)).astype(np.float32)
    offsets = np.random.RandomState(int(recorded["syn_delta_seed"])).normal(0, 1, (*shape, 4)).astype(np.float32)
    return Predictions(torch.from_numpy(cls_logits), torch.from_numpy(offsets[..., [1, 0, 3, 2]]))


def scopes(listing: str, kind: str) -> dict[str, str]:
    """Names of layers in TensorFlow 1, or of the outputs of Keras' layers, by their kernel in TensorFlow 2."""
    is_v1, is_lite, is_keras = "v1" in listing, "lite" in listing, kind == "keras"
    network = f"FeatureExtractor/Mobilenet{'V1' if is_v1 else 'V2'}"
    network = "ssd_mobile_net_v2_keras_feature_extractor" if is_keras else network
    layers = V1_LAYERS if is_v1 else V2_KERAS if is_keras else V2_LAYERS
    names = {f"{BACKBONE}{2 * n}": f"{network}/{'model/' if is_keras else ''}{layer}" for n, layer in enumerate(layers)}
    extras = EXTRAS.replace("/feature_map", "/_feature_map") if is_v1 else EXTRAS
    for level, channels in enumerate(OUT, start=2):
        start = f"{network}/{'FeatureMaps/' if is_keras else ''}{'Conv2d_13_pointwise' if is_v1 else 'layer_19'}"
        end = f"{start}_2_Conv2d_{level}_3x3_s2_{channels}"
        names[f"{extras}{level}/0"] = f"{start}_1_Conv2d_{level}_1x1_{channels // 2}"
        names[f"{extras}{level}/3"] = f"{end}_depthwise" if is_lite else end
        names |= {f"{extras}{level}/6": end} if is_lite else {}
    heads = {
        "box_encodings/{}/_box_encoder": ("Box", "BoxEncoding"),
        "class_predictions_with_background/{}/_class_predictor": ("Class", "Class"),
    }
    for level in range(6):
        for path, (box, head) in heads.items():
            scope = f"BoxPredictor/Convolutional{box}Head_{level}" if is_keras else f"BoxPredictor_{level}"
            start = f"{HEADS}{path.format(level)}_layers"
            names[f"{start}/{3 if is_lite else 0}"] = f"{scope}/{head}Predictor"
            names |= {f"{start}/0": f"{scope}/{head}Predictor_depthwise"} if is_lite else {}
    return names


def renamed(weights: StateDict, listing: str, kind: str) -> StateDict:
    """The weights as a file of TensorFlow 1 has them, or as TFLite files do, without (identity) norms."""
    names = scopes(listing, kind)
    found: StateDict = {}
    for name, value in weights.items():
        layer, leaf = name.removesuffix(SUFFIX).rsplit("/", 1)
        plain = leaf.replace("kernel", "weights").replace("bias", "biases")
        if leaf not in NORM_LEAVES:
            found[f"{names[layer]}/{plain}"] = value
            continue
        conv = re.sub(r"\d+$", lambda index: str(int(index[0]) - 1), layer)
        if kind == "variables":
            found[f"{names[conv]}/BatchNorm/{leaf}"] = value
        elif leaf == "beta":
            found[f"{names[conv]}/biases"] = value
    return found


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *itertools.product(["ssd_mobilenet_v1", "ssd_mobilenet_v2", "ssdlite_mobilenet_v2"], ["variables", "outputs"]),
        *itertools.product(["ssd_mobilenet_v2", "ssdlite_mobilenet_v2"], ["keras"]),
    ],
)
def test_names_of_other_files(name: str, kind: str) -> None:
    listing = f"tensorflow_{name}"
    identity = {"gamma": 1.0, "moving_mean": 0.0, "moving_variance": 1 - 1e-3}
    weights: StateDict = {}
    for path, shape in peers.read_shapes(listing).items():
        value = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(path.encode())))
        factor = identity.get(path.rpartition("/")[2]) if kind != "variables" else None
        weights[path + SUFFIX] = value if factor is None else torch.full(shape, factor)
    expected, converted = peers.convert(weights), peers.convert(renamed(weights, listing, kind))
    assert (converted.config, converted.overrides) == (expected.config, expected.overrides)
    assert converted.weights.keys() == expected.weights.keys()
    for key, value in converted.weights.items():
        torch.testing.assert_close(value, expected.weights[key], rtol=0, atol=1e-6)
    peers.check_fits(converted)


def small_v1(content: Mapping[str, Any], num_classes: int = 3, width: float = 0.25) -> Converted:
    """A network of a quarter of the channels, tensors without values."""
    shapes = peers.read_shapes("tensorflow_ssd_mobilenet_v1")
    weights: StateDict = {}
    for path, shape in shapes.items():
        is_head, is_class = HEADS in path, "class_pred" in path
        outputs = shape[-1] // 91 * num_classes if is_class else shape[-1]
        narrow = [max(16, int(size * width)) if size >= 32 else size for size in shape]
        weights[path] = torch.empty([*narrow[:-1], outputs] if is_head else narrow, device="meta")
    return find_format(CheckpointContent("file", weights, {})).convert(weights, content)


def test_width_and_input_of_the_file() -> None:
    content = {"input_size": (240, 320), "input_mean": 128.0, "input_std": 128.0}
    converted = small_v1(content)
    config = peers.read_config(converted.config, *converted.overrides)
    assert (config.MODEL.BACKBONE.WIDTH, config.INPUT.IMAGE_SIZE) == (0.25, (240, 320))
    assert config.INPUT.PIXEL_STD == [128] * 3
    assert config.MODEL.PRIORS.SHAPES[0][0] == (24, 24)
    assert list(parse_config(config.dump(), "its dump").MODEL.PRIORS.SHAPES[5][0]) == [228, 228]
    peers.check_fits(converted)
    assert "PIXEL_MEAN" not in str(small_v1({**content, "input_mean": 0.0, "input_std": 255.0}).overrides)


def test_classes_of_coco_and_of_ones_own() -> None:
    assert small_v1({}, 91).class_names == COCO_CLASSES
    assert small_v1({}, 3).class_names is None
    weights = read_weights("tensorflow_ssd_mobilenet_v1")
    header = weights[f"{HEADS}class_predictions_with_background/1/_class_predictor_layers/0/kernel{SUFFIX}"]
    converted = peers.convert(weights).weights["box_head.predictor.cls_headers.1.weight"]
    theirs = header[0, 0].T.unflatten(0, (6, 91))[:, list(layouts.SLOTS)]
    assert torch.equal(converted[..., 0, 0], theirs.flatten(0, 1))


def make_anchors(shapes: Sequence[Sequence[tuple[float, float]]]) -> Tensor:
    """Priors of 300 pixels (P, 4) as y, x, h, w, in the place of those of a file."""
    config = peers.read_config("interop/tensorflow_ssd_mobilenet_v1_coco", "MODEL.PRIORS.SHAPES", shapes)
    priors = peers.make_prior_box(config, levels_of(config))()
    return priors[:, [1, 0, 3, 2]]


def test_priors_of_the_file() -> None:
    """Slight differences come from 8 bits; another order is the trap of June 2017."""
    usual = ssd_anchor_shapes(300)
    exact = make_anchors(usual)
    noise = torch.from_numpy(np.random.default_rng(0).uniform(-0.003, 0.003, (6, 4)).astype(np.float32))
    noisy = exact + noise.repeat(320, 1)[: len(exact)] * torch.tensor([1, 1, 0, 0])
    assert "SHAPES" not in str(small_v1({"input_size": (300, 300), "anchors": noisy}).overrides)
    older = [usual[0], *([level[0], level[5], *level[1:5]] for level in usual[1:])]
    converted = small_v1({"input_size": (300, 300), "anchors": make_anchors(older)})
    overrides = dict(zip(converted.overrides[::2], converted.overrides[1::2], strict=True))
    np.testing.assert_allclose(overrides["MODEL.PRIORS.SHAPES"][3], older[3], atol=0.01)
    assert "in the file" in converted.notes[0]


@pytest.mark.parametrize("change", [lambda priors: priors[1:], lambda priors: priors + 0.02], ids=["fewer", "moved"])
def test_priors_that_no_config_gives_are_refused(change: Any) -> None:
    with pytest.raises(CheckpointError, match="priors"):
        small_v1({"input_size": (300, 300), "anchors": change(make_anchors(ssd_anchor_shapes(300)))})


def test_unknown_and_missing_tensors_are_named() -> None:
    weights = read_weights("tensorflow_ssd_mobilenet_v1")
    momentum = f"{BACKBONE}0/kernel/.OPTIMIZER_SLOT/momentum{SUFFIX}"
    optimizer = {momentum: torch.zeros(1), "save_counter": torch.tensor(1)}
    assert peers.convert({**weights, **optimizer}).weights.keys() == peers.convert(weights).weights.keys()
    with pytest.raises(CheckpointError, match="layer_with_weights-0/scale"):
        convert_foreign(CheckpointContent("file", {**weights, f"{BACKBONE}0/scale{SUFFIX}": torch.zeros(1)}, {}))
    del weights[f"{BACKBONE}3/beta{SUFFIX}"]
    with pytest.raises(CheckpointError, match=r"beta.*backbone\.features\.1\.1"):
        convert_foreign(CheckpointContent("file", weights, {}))
