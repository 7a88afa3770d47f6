"""mmdetection's SSDLite320 with MobileNetV2 against its recording."""

from typing import Any

import pytest
import torch

from ssd.weights.formats.mmdet_ssdlite import SOURCE
from tests.weights.formats import peers

NAME = "mmdet_ssdlite_mobilenetv2_coco"


def test_recording() -> None:
    peer = peers.load_peer(NAME)
    detector = peers.build(peers.convert(SOURCE, peer.weights))
    classes = [80, *range(80)]
    peers.check_recording(detector, peer.recorded, classes=classes)


@pytest.mark.parametrize(
    ("content", "class_names"),
    [
        ({"meta": {"CLASSES": ("cat", "dog")}}, ("cat", "dog")),
        ({"meta": {"dataset_meta": {"classes": ["cat", "dog"]}}}, ("cat", "dog")),
        ({"meta": {}}, None),
        ({"meta": 3}, None),
        ({}, None),
    ],
)
def test_class_names(content: dict[str, Any], class_names: tuple[str, ...] | None) -> None:
    assert SOURCE.convert(peers.meta_weights(NAME), content).class_names == class_names


def test_classes_of_ones_own() -> None:
    """Three and the background, which comes first here."""
    weights = peers.empty_weights(NAME)
    for name, value in weights.items():
        if name.startswith("bbox_head.cls_convs.") and name.endswith((".1.weight", ".1.bias")):
            scores = torch.arange(6 * 4.0)  # of six priors
            weights[name] = scores if value.dim() == 1 else scores.view(-1, 1, 1, 1).repeat(1, value.shape[1], 1, 1)
    detector = peers.build(peers.convert(SOURCE, weights))
    assert detector.config.MODEL.NUM_CLASSES == 4
    for header in detector.model.box_head.predictor.cls_headers:
        last = header.conv[3]
        assert last.bias.tolist() == last.weight[:, 0, 0, 0].tolist()
        assert last.bias[:8].tolist() == [3, 0, 1, 2, 7, 4, 5, 6]


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("backbone.conv1.bn.weight", "backbone.features.0.1.weight"),
        ("backbone.layer1.0.linear_conv.conv.weight", "backbone.features.1.conv.1.weight"),
        ("backbone.layer7.0.linear_conv.bn.running_mean", "backbone.features.17.conv.3.running_mean"),
        ("neck.extra_layers.3.1.pointwise_conv.conv.weight", "backbone.extras.3.2.0.weight"),
        ("bbox_head.cls_convs.2.0.conv.weight", "box_head.predictor.cls_headers.2.conv.0.weight"),
        ("bbox_head.cls_convs.5.1.bias", "box_head.predictor.cls_headers.5.conv.3.bias"),
        ("bbox_head.reg_convs.1.1.weight", "box_head.predictor.reg_headers.1.conv.3.weight"),
    ],
)
def test_damaged(name: str, ours: str) -> None:
    with torch.device("meta"):
        peers.check_damaged(SOURCE, peers.meta_weights(NAME), name, ours)
