"""The MobileNetV3 detectors of qfgaohao/pytorch-ssd: Large against its recording, both step by step."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ssd.weights.formats.qfgaohao_mobilenetv3 import SOURCES
from ssd.weights.formats.source import StateDict
from tests.weights.formats import peers
from tests.weights.formats.layers import batch_norm, by_prior, conv

LARGE, SMALL = "qfgaohao_mb3-large-ssd-lite_voc", "qfgaohao_mb3-small-ssd-lite_voc"
SOURCE_OF = dict(zip((LARGE, SMALL), SOURCES, strict=True))


def test_recording() -> None:
    peer = peers.load_peer(LARGE)
    detector = peers.build(peers.convert(SOURCE_OF[LARGE], peer.weights))
    peers.check_recording(detector, peer.recorded)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "num_blocks", "strided", "tapped", "first_hard_swish"),
    [(LARGE, 15, (4, 6, 9, 16), 14, 9), (SMALL, 11, (3, 4, 6, 11), 10, 6)],
    ids=["large", "small"],
)
def test_layers_step_by_step(
    name: str, num_blocks: int, strided: tuple[int, ...], tapped: int, first_hard_swish: int
) -> None:
    """No recording of Small exists: its strides follow from its shortcuts and maps, the tapped block from Large's."""
    weights = peers.fill(peers.read_shapes(name))
    detector = peers.build(peers.convert(SOURCE_OF[name], weights))
    images = torch.randn(2, 3, 300, 300)

    last = 3 + num_blocks
    x, features = F.hardswish(norm_conv(weights, "base_net.0", "base_net.1", images, stride=2)), []
    for index in range(3, last):
        x = block(weights, f"base_net.{index}", x, 1 + (index in strided), is_hard_swish=index >= first_hard_swish)
        if index == tapped:
            features.append(x)
    x = F.hardswish(norm_conv(weights, f"base_net.{last}", f"base_net.{last + 1}", x))
    features.append(x)
    for index in range(4):
        x = block(weights, f"extras.{index}", x, 2, is_hard_swish=True)
        features.append(x)
    headers = enumerate(features)
    cls_logits = by_prior([header(weights, f"classification_headers.{level}", x) for level, x in headers], 21)
    headers = enumerate(features)
    bbox_pred = by_prior([header(weights, f"regression_headers.{level}", x) for level, x in headers], 4)

    peers.check_predictions(detector, images, (cls_logits, bbox_pred))


def block(weights: StateDict, name: str, features: Tensor, stride: int, *, is_hard_swish: bool) -> Tensor:
    """Squeeze and excitation weighs what the block gives, before the skip."""
    activation = F.hardswish if is_hard_swish else F.relu
    x = activation(norm_conv(weights, f"{name}.conv1", f"{name}.bn1", features))
    x = activation(norm_conv(weights, f"{name}.conv2", f"{name}.bn2", x, stride=stride))
    x = norm_conv(weights, f"{name}.conv3", f"{name}.bn3", x)
    if f"{name}.se.se.1.weight" in weights:
        mean = x.mean(dim=(2, 3), keepdim=True)
        squeezed = F.relu(norm_conv(weights, f"{name}.se.se.1", f"{name}.se.se.2", mean))
        x = x * F.hardsigmoid(norm_conv(weights, f"{name}.se.se.4", f"{name}.se.se.5", squeezed))
    if stride == 2:
        return x
    if f"{name}.shortcut.0.weight" in weights:
        return x + norm_conv(weights, f"{name}.shortcut.0", f"{name}.shortcut.1", features)
    return x + features


def header(weights: StateDict, name: str, x: Tensor) -> Tensor:
    if f"{name}.weight" in weights:
        return conv(weights, name, x)
    return conv(weights, f"{name}.3", F.relu6(norm_conv(weights, f"{name}.0", f"{name}.1", x)))


def norm_conv(weights: StateDict, name: str, norm: str, x: Tensor, stride: int = 1) -> Tensor:
    return batch_norm(weights, norm, conv(weights, name, x, stride=stride))


@pytest.mark.parametrize("name", SOURCE_OF)
def test_parameters_and_priors_are_those_of_the_listing(name: str) -> None:
    detector = peers.build(peers.convert(SOURCE_OF[name], peers.empty_weights(name)))
    peers.check_listing(detector, name)


@pytest.mark.parametrize("name", SOURCE_OF)
def test_the_other_does_not_have_its_marks(name: str) -> None:
    names = list(peers.read_shapes(name))
    assert [other for other, source in SOURCE_OF.items() if source.recognises(names)] == [name]


@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [
        (LARGE, "base_net.0.weight", "backbone.features.0.0.weight"),
        (LARGE, "base_net.13.shortcut.0.weight", "backbone.features.11.shortcut.0.weight"),
        (LARGE, "extras.3.conv3.weight", "backbone.extras.3.conv.6.weight"),
        (LARGE, "classification_headers.0.0.bias", "box_head.predictor.cls_headers.0.conv.0.bias"),
        (SMALL, "base_net.3.se.se.4.weight", "backbone.features.1.squeeze.weigh.4.weight"),
        (SMALL, "base_net.14.weight", "backbone.features.12.0.weight"),
        (SMALL, "regression_headers.5.weight", "box_head.predictor.reg_headers.5.weight"),
    ],
)
def test_damaged(name: str, theirs: str, ours: str) -> None:
    with torch.device("meta"):
        peers.check_damaged(SOURCE_OF[name], peers.meta_weights(name), theirs, ours)
