"""SSD300 of sgrvinod's tutorial against its recording."""

import pytest
import torch

from ssd.modeling.anchors import PriorBox
from ssd.weights.formats.sgrvinod import SOURCE
from tests.weights.formats import peers

NAME = "sgrvinod_ssd300_voc"


def test_recording() -> None:
    peer = peers.load_peer(NAME)
    detector = peers.build(peers.convert(SOURCE, peer.weights))
    order = peers.cell_order(detector.levels, {6: [0, 1, 2, 4, 3, 5]})
    peers.check_recording(detector, peer.recorded, order=order)


def test_priors_of_the_central_cell_by_hand() -> None:
    """Level 2 has scale .375 and the next .55; 10 cells, so the fifth stands at .45."""
    start = 38 * 38 * 4 + 19 * 19 * 6 + (4 * 10 + 4) * 6
    priors = PriorBox(peers.complete_config("interop/sgrvinod_ssd300_voc"))()[start : start + 6]
    root2, root3, between = 2**0.5, 3**0.5, (0.375 * 0.55) ** 0.5
    flat = 0.333**0.5
    expected = [
        *((0.375, 0.375), (between, between), (0.375 * root2, 0.375 / root2), (0.375 / root2, 0.375 * root2)),
        *((0.375 * root3, 0.375 / root3), (0.375 * flat, 0.375 / flat)),
    ]
    torch.testing.assert_close(priors, torch.tensor([[0.45, 0.45, w, h] for w, h in expected]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("base.conv1_1.bias", "backbone.vgg.0.bias"),
        ("base.conv6.weight", "backbone.vgg.31.weight"),
        ("aux_convs.conv11_2.weight", "backbone.extras.7.weight"),
        ("rescale_factors", "backbone.l2_norm.weight"),
        ("pred_convs.loc_conv8_2.weight", "box_head.predictor.reg_headers.2.weight"),
        ("pred_convs.cl_conv11_2.bias", "box_head.predictor.cls_headers.5.bias"),
    ],
)
def test_damaged(name: str, ours: str) -> None:
    with torch.device("meta"):
        peers.check_damaged(SOURCE, peers.meta_weights(NAME), name, ours)
