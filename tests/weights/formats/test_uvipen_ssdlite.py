"""uvipen's SSDLite300 with MobileNetV2 against its recording."""

import pytest
import torch

from ssd.weights.formats.uvipen_ssdlite import SOURCE
from tests.weights.formats import peers

NAME = "uvipen_ssdlite300_mobilenetv2_coco"


def test_recording() -> None:
    peer = peers.load_peer(NAME)
    detector = peers.build(peers.convert(SOURCE, peer.weights))
    order = peers.value_major_order(detector.levels)
    peers.check_recording(detector, peer.recorded, order=order)


def test_headers_that_are_not_used_are_left_out() -> None:
    weights = peers.meta_weights(NAME)
    converted = peers.convert(SOURCE, weights)
    assert sum("loc.6" in note and "conf.6" in note for note in converted.notes) == 1
    without = {name: value for name, value in weights.items() if ".6." not in name or name.startswith("feature")}
    assert len(without) == len(weights) - 4
    assert peers.convert(SOURCE, without).weights.keys() == converted.weights.keys()


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("feature_extractor.feature_extractor.14.conv.0.1.running_var", "backbone.features.14.conv.0.1.running_var"),
        ("additional_blocks.3.conv.2.weight", "backbone.extras.3.conv.2.weight"),
        ("loc.2.0.bias", "box_head.predictor.reg_headers.2.conv.0.bias"),
        ("loc.2.3.bias", "box_head.predictor.reg_headers.2.conv.3.bias"),
        ("conf.5.3.weight", "box_head.predictor.cls_headers.5.conv.3.weight"),
    ],
)
def test_damaged(name: str, ours: str) -> None:
    with torch.device("meta"):
        peers.check_damaged(SOURCE, peers.meta_weights(NAME), name, ours)
