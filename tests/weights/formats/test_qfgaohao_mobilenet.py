"""The MobileNet V1 and V2 detectors of qfgaohao/pytorch-ssd, against recordings and, without one, step by step."""

import pytest
import torch
from torch import Tensor

from ssd.weights.formats.qfgaohao_mobilenet import SOURCES
from ssd.weights.formats.source import StateDict
from tests.weights.formats import peers
from tests.weights.formats.layers import batch_norm, by_prior, conv, header

MB1, MB1_LITE, MB2_LITE = "qfgaohao_mb1-ssd_voc", "qfgaohao_mb1-ssd-lite_voc", "qfgaohao_mb2-ssd-lite_voc"
SOURCE_OF = dict(zip((MB1, MB1_LITE, MB2_LITE), SOURCES, strict=True))


@pytest.mark.parametrize("name", [MB1, MB2_LITE])
def test_recording(name: str) -> None:
    peer = peers.load_peer(name)
    detector = peers.build(peers.convert(SOURCE_OF[name], peer.weights))
    # Their IoU adds 1e-5 to the union, relative to the image: of mb2-ssd-lite's boxes, 1823 stay there and 1821 here.
    peers.check_recording(detector, peer.recorded, has_total=name == MB1)


@torch.no_grad()
def test_mb1_lite_is_its_layers_step_by_step() -> None:
    weights = peers.fill(peers.read_shapes(MB1_LITE))
    detector = peers.build(peers.convert(SOURCE_OF[MB1_LITE], weights))
    images = torch.randn(2, 3, 300, 300)
    peers.check_predictions(detector, images, mb1_lite(weights, images))


def mb1_lite(weights: StateDict, images: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (B, P, C) and offsets (B, P, 4) by the names of the file."""
    x, features = images, []
    for index in range(14):
        x = mobilenet_layer(weights, f"base_net.{index}", x, stride=2 if index in (0, 2, 4, 6, 12) else 1)
        if index in (11, 13):
            features.append(x)
    for index in range(4):
        x = conv(weights, f"extras.{index}.0", x).relu()
        x = conv(weights, f"extras.{index}.2.0", x, stride=2).relu()
        x = conv(weights, f"extras.{index}.2.2", x)
        features.append(x)
    scores = [header(weights, f"classification_headers.{level}", x) for level, x in enumerate(features)]
    offsets = [header(weights, f"regression_headers.{level}", x) for level, x in enumerate(features)]
    return by_prior(scores, 21), by_prior(offsets, 4)


def mobilenet_layer(weights: StateDict, name: str, x: Tensor, stride: int) -> Tensor:
    """The first layer, or a depthwise and a pointwise convolution, each with batch norm and ReLU."""
    x = batch_norm(weights, f"{name}.1", conv(weights, f"{name}.0", x, stride=stride)).relu()
    if f"{name}.3.weight" not in weights:
        return x
    return batch_norm(weights, f"{name}.4", conv(weights, f"{name}.3", x)).relu()


@pytest.mark.parametrize("name", SOURCE_OF)
def test_names_order_and_priors_are_those_of_the_listing(name: str) -> None:
    converted = peers.convert(SOURCE_OF[name], peers.empty_weights(name))
    detector = peers.build(converted)
    assert list(converted.weights) == list(detector.model.state_dict())
    peers.check_listing(detector, name)


@pytest.mark.parametrize("name", SOURCE_OF)
def test_no_other_of_the_three_has_its_marks(name: str) -> None:
    names = list(peers.read_shapes(name))
    assert [other for other, source in SOURCE_OF.items() if source.recognises(names)] == [name]


@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [
        (MB1, "base_net.5.4.running_mean", "backbone.features.5.4.running_mean"),
        (MB1, "classification_headers.0.weight", "box_head.predictor.cls_headers.0.weight"),
        (MB1_LITE, "extras.3.2.0.weight", "backbone.extras.3.2.0.weight"),
        (MB1_LITE, "classification_headers.0.2.weight", "box_head.predictor.cls_headers.0.2.weight"),
        (MB2_LITE, "base_net.1.conv.3.weight", "backbone.features.1.conv.1.weight"),
        (MB2_LITE, "extras.2.conv.4.running_var", "backbone.extras.2.conv.1.1.running_var"),
        (MB2_LITE, "regression_headers.5.weight", "box_head.predictor.reg_headers.5.weight"),
    ],
)
def test_damaged(name: str, theirs: str, ours: str) -> None:
    with torch.device("meta"):
        peers.check_damaged(SOURCE_OF[name], peers.meta_weights(name), theirs, ours)
