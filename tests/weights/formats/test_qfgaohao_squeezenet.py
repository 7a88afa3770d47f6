"""sq-ssd-lite of qfgaohao/pytorch-ssd step by step; there is no recording of it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ssd.weights.formats.qfgaohao_squeezenet import SOURCE
from ssd.weights.formats.source import StateDict
from tests.weights.formats import peers
from tests.weights.formats.layers import by_prior, conv, header

NAME = "qfgaohao_sq-ssd-lite_voc"
MAPS = [17, 10, 5, 3, 2, 1]  # 6 priors a cell: the 2568 of the listing


@torch.no_grad()
def test_layers_step_by_step() -> None:
    weights = peers.fill(peers.read_shapes(NAME))
    detector = peers.build(peers.convert(SOURCE, weights))
    images = torch.randn(2, 3, 300, 300)

    x, features = conv(weights, "base_net.0", images, stride=2, padding=0).relu(), []
    for index in range(2, 13):
        x = F.max_pool2d(x, 3, stride=2) if index in (2, 5, 8) else fire(weights, f"base_net.{index}", x)
        if index == 11:
            features.append(x)
    for index in range(5):
        x = conv(weights, f"extras.{index}.0", x).relu()
        x = conv(weights, f"extras.{index}.2.0", x, stride=2, padding=2 if index == 0 else 1).relu()
        x = conv(weights, f"extras.{index}.2.2", x)
        features.append(x)
    assert [tuple(feature.shape[2:]) for feature in features] == [(size, size) for size in MAPS]
    scores = [header(weights, f"classification_headers.{level}", x) for level, x in enumerate(features)]
    offsets = [header(weights, f"regression_headers.{level}", x) for level, x in enumerate(features)]
    peers.check_predictions(detector, images, (by_prior(scores, 21), by_prior(offsets, 4)))


def fire(weights: StateDict, name: str, x: Tensor) -> Tensor:
    """SqueezeNet, Fig. 1."""
    x = conv(weights, f"{name}.squeeze", x).relu()
    return torch.cat([conv(weights, f"{name}.{part}", x).relu() for part in ("expand1x1", "expand3x3")], dim=1)


def test_names_order_and_priors_are_those_of_the_listing() -> None:
    converted = peers.convert(SOURCE, peers.empty_weights(NAME))
    detector = peers.build(converted)
    assert list(converted.weights) == list(detector.model.state_dict())
    peers.check_listing(detector, NAME)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("base_net.0.bias", "backbone.features.0.bias"),
        ("base_net.12.expand3x3.weight", "backbone.features.12.expand3x3.weight"),
        ("extras.4.2.0.weight", "backbone.extras.4.2.0.weight"),
        ("classification_headers.5.weight", "box_head.predictor.cls_headers.5.weight"),
        ("regression_headers.1.2.bias", "box_head.predictor.reg_headers.1.2.bias"),
    ],
)
def test_damaged(theirs: str, ours: str) -> None:
    with torch.device("meta"):
        peers.check_damaged(SOURCE, peers.meta_weights(NAME), theirs, ours)
