"""MLPerf's SSD300 with ResNet-34 against its recording."""

import pytest
import torch

from ssd.weights.formats.mlperf import SOURCE
from tests.weights.formats import peers

NAME = "mlperf_ssd300_resnet34_coco"


def test_recording() -> None:
    peer = peers.load_peer(NAME)
    detector = peers.build(peers.convert(SOURCE, peer.weights))
    order = peers.value_major_order(detector.levels)
    peers.check_recording(detector, peer.recorded, order=order)


def test_what_a_user_is_told() -> None:
    weights = peers.meta_weights(NAME)
    labels = dict(enumerate(["background", *map(str, range(80))]))
    converted = peers.convert(SOURCE, weights, {"label_map": labels})
    assert converted.class_names == tuple(map(str, range(80)))
    assert ["1200" in note for note in converted.notes] == [True]


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("model.layer1.1.running_var", "backbone.bn1.running_var"),
        ("model.layer2.0.5.conv2.weight", "backbone.layer3.5.conv2.weight"),
        ("additional_blocks.0.2.bias", "backbone.extras.0.2.bias"),
        ("loc.0.weight", "box_head.predictor.reg_headers.0.weight"),
        ("conf.3.bias", "box_head.predictor.cls_headers.3.bias"),
    ],
)
def test_damaged(name: str, ours: str) -> None:
    with torch.device("meta"):
        peers.check_damaged(SOURCE, peers.meta_weights(NAME), name, ours)
