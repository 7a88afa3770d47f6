"""vgg16-ssd of qfgaohao/pytorch-ssd against its recording."""

import pytest
import torch

from ssd.weights.formats.qfgaohao_vgg import SOURCE
from tests.weights.formats import peers

NAME = "qfgaohao_vgg16-ssd_voc"


def test_recording() -> None:
    peer = peers.load_peer(NAME)
    detector = peers.build(peers.convert(SOURCE, peer.weights))
    # It adds 1e-5 to the union in the IoU: of 3521 drawn detections, three more than here stay beside a neighbour.
    peers.check_recording(detector, peer.recorded, has_total=False)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("base_net.33.weight", "backbone.vgg.33.weight"),
        ("extras.3.2.bias", "backbone.extras.7.bias"),
        ("source_layer_add_ons.0.running_var", "backbone.batch_norm.running_var"),
        ("regression_headers.5.weight", "box_head.predictor.reg_headers.5.weight"),
        ("classification_headers.1.bias", "box_head.predictor.cls_headers.1.bias"),
    ],
)
def test_damaged(name: str, ours: str) -> None:
    with torch.device("meta"):
        peers.check_damaged(SOURCE, peers.meta_weights(NAME), name, ours)
