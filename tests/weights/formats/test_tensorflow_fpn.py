"""TensorFlow's SSDs with FPN: folded norms of TFLite files, input size and priors (recordings: test_tensorflow)."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from ssd.modeling.anchors import PriorBox
from ssd.modeling.backbone.pretrained import StateDict
from ssd.utils.checkpoint_file import load_model_weights
from ssd.utils.errors import CheckpointError
from ssd.weights.formats.tensorflow_fpn import anchor_shapes
from tests.weights.formats import peers
from tests.weights.formats.test_tensorflow import BACKBONE, NORM_LEAVES, SUFFIX, V2_KERAS, read_weights

LISTING = "tensorflow_ssd_mobilenet_v2_fpnlite_320"
GENERATOR = "model/_feature_extractor/_fpn_features_generator"
COARSE = "model/_feature_extractor/_coarse_feature_layers"
PREDICTOR = "model/_box_predictor"
KERAS, SHARED = "ssd_mobile_net_v2_fpn_keras_feature_extractor", "WeightSharedConvolutionalBoxPredictor"
CLASSES = f"{PREDICTOR}/_prediction_heads/class_predictions_with_background/_class_predictor_layers/0"
TOWER, NORMS = f"{PREDICTOR}/_head_scope_conv_layers/PredictionTower", f"{PREDICTOR}/_base_tower_layers_for_heads"


def outputs() -> Iterator[tuple[str, str, str, str]]:
    """Paths of a convolution and of its norm, the names of its output and, if it is separable, of its first part."""
    for n, name in enumerate(V2_KERAS):
        yield f"{BACKBONE}{2 * n}", f"{BACKBONE}{2 * n + 1}", f"{KERAS}/model/{name}", ""
    yield f"{GENERATOR}/top_layers/0", "", f"{KERAS}/FeatureMaps/top_down/projection_3", ""
    for n in range(2):
        top_down, bottom_up = f"{KERAS}/FeatureMaps/top_down", f"{KERAS}/bottom_up_Conv2d_{20 + n}"
        smooth, base = f"{top_down}/smoothing_{2 - n}", f"{GENERATOR}/conv_layers/{n}"
        yield f"{GENERATOR}/residual_blocks/{n}/0", "", f"{top_down}/projection_{2 - n}", ""
        yield f"{base}/0", f"{base}/1", smooth, f"{smooth}_depthwise_conv"
        yield f"{COARSE}/{n}/0", f"{COARSE}/{n}/1", bottom_up, f"{bottom_up}_depthwise_conv"
    for n in range(4):
        name = f"{SHARED}/PredictionTower/conv2d_{n}"
        for level in range(5):
            yield f"{TOWER}/{n}", f"{NORMS}/box_encodings/{level}/{3 * n + 1}", f"{name}/activation_{level}", name
    box, classes = (f"{SHARED}/WeightSharedConvolutional{kind}Head/{kind}Predictor" for kind in ("Box", "Class"))
    yield f"{PREDICTOR}/_box_prediction_head/_box_encoder_layers/0", "", box, box
    yield CLASSES, "", classes, classes


def as_tflite(weights: StateDict) -> StateDict:
    """The weights as a TFLite file has them: norms folded, and kernels of the tower for each level."""
    found: StateDict = {}
    for conv, norm, output, first in outputs():
        kernel, depthwise, pointwise = (
            weights.get(f"{conv}/{kind}kernel{SUFFIX}") for kind in ("", "depthwise_", "pointwise_")
        )
        if first:
            found |= {f"{first}/depthwise_weights": depthwise, f"{first}/biases": torch.zeros(len(depthwise[0, 0]))}
            kernel, depthwise = pointwise, None
        scale, bias = torch.tensor(1.0), weights.get(f"{conv}/bias{SUFFIX}")
        if norm:
            gamma, beta, mean, variance = (weights[f"{norm}/{leaf}{SUFFIX}"] for leaf in NORM_LEAVES)
            scale = gamma / (variance + 1e-3).sqrt()
            bias = beta - mean * scale
        found[f"{output}/biases"] = bias
        if depthwise is not None:
            found[f"{output}/depthwise_weights"] = depthwise * scale[:, None]
        else:
            found[f"{output}/weights"] = kernel * scale
    return found


@torch.no_grad()
def test_folded_norms_of_each_level() -> None:
    weights = read_weights(LISTING)
    weights[f"{NORMS}/box_encodings/0/1/gamma{SUFFIX}"][:3] = 0  # such channels have no kernel there
    weights[f"{NORMS}/box_encodings/3/4/gamma{SUFFIX}"][5] *= -1
    converted, expected = peers.convert(as_tflite(weights)), peers.convert(weights)
    assert converted.weights.keys() == expected.weights.keys()
    images = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model = peers.build(converted).model
    found = model.predict(images)
    load_model_weights(model, expected.weights, "the checkpoint")
    for one, other in zip(found, model.predict(images), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_unlike_kernels_and_other_networks_are_refused() -> None:
    weights = as_tflite(read_weights(LISTING))
    name = f"{SHARED}/PredictionTower/conv2d_2"
    for key, pattern in ((f"{name}/activation_4/weights", "share"), (f"{name}/biases", "not zero")):
        with pytest.raises(CheckpointError, match=rf"{pattern}|conv2d_2.*{pattern}"):
            peers.convert({**weights, key: weights[key] + 1})
    light = {name: value for name, value in read_weights(LISTING).items() if "backbone" not in name}
    resnet = read_weights("tensorflow_ssd_resnet50_v1_fpn_640")
    with pytest.raises(CheckpointError, match="FPNLite with MobileNetV2"):
        peers.convert(light | {name: value for name, value in resnet.items() if "backbone" in name})


def anchors(side: int, *, last: float) -> Tensor:
    """Priors (P, 4) of a square image as y, x, h, w; ``last`` is the first centre of the last level in strides."""
    strides = [(stride, stride) for stride in (8, 16, 32, 64, 128)]
    maps = [(-(-side // y), -(-side // x)) for y, x in strides]
    offsets = [*[(0.5, 0.5)] * 4, (last, last)]
    priors = PriorBox((side, side), maps, strides, [anchor_shapes(stride) for stride, _ in strides], offsets=offsets)()
    return priors[:, [1, 0, 3, 2]]


def test_input_size_and_priors_of_the_file() -> None:
    shapes = peers.read_shapes(LISTING).items()
    weights = {name + SUFFIX: torch.empty(shape, device="meta") for name, shape in shapes}
    small = {"input_size": (320, 320), "anchors": anchors(320, last=0)}
    for side, content in ((320, small), (640, {"input_size": (640, 640), "anchors": anchors(640, last=0.5)})):
        converted = peers.convert(weights, content)
        assert converted.config == f"interop/tensorflow_ssd_mobilenet_v2_fpnlite_{side}_coco"
        assert "SHAPES" not in str(converted.overrides)
    converted = peers.convert(weights, {**small, "anchors": small["anchors"] * torch.tensor([1, 1, 0.5, 0.5])})
    overrides = dict(zip(converted.overrides[::2], converted.overrides[1::2], strict=True))
    np.testing.assert_allclose(overrides["MODEL.PRIORS.SHAPES"][0][0], (16, 16), atol=1e-3)
    converted = peers.convert(weights, {"input_size": (256, 384)})
    overrides = dict(zip(converted.overrides[::2], converted.overrides[1::2], strict=True))
    assert overrides["MODEL.PRIORS.OFFSETS"][-1] == (0.5, 0.5)
    assert "pipeline.config" in peers.convert(weights).notes[-1]
    with pytest.raises(CheckpointError, match="centres"):
        peers.convert(weights, {**small, "anchors": anchors(320, last=0.5)})
