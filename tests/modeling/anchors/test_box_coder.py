"""Encoding against priors: by hand, round trips, and recorded values."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssd.modeling.anchors import BoxCoder
from ssd.structures.boxes import center_to_corner, corner_to_center

CODER = BoxCoder(0.1, 0.2)


def test_by_hand() -> None:
    prior = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    box = torch.tensor([[0.6, 0.5, 0.4, 0.4]])
    # dx = 0.1 / 0.2 / 0.1, dw = ln 2 / 0.2
    expected = torch.tensor([[5.0, 0.0, math.log(2) / 0.2, 0.0]])
    torch.testing.assert_close(CODER.encode(box, prior), expected)
    assert torch.equal(CODER.encode(prior, prior), torch.zeros(1, 4))
    assert torch.equal(CODER.decode(torch.zeros(1, 4), prior), prior)
    boxes = CODER.decode(torch.full((1, 4), 1e6), torch.tensor([[0.5, 0.5, 0.1, 0.1]]))  # wild predictions
    assert boxes.isfinite().all()
    assert boxes[0, 2].item() == pytest.approx(6.25)


center_form = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.02, 1), st.floats(0.02, 1))


@given(st.lists(st.tuples(center_form, center_form), min_size=1, max_size=8))
def test_round_trip(pairs: list) -> None:
    boxes, priors = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    decoded = CODER.decode(CODER.encode(boxes, priors), priors)
    torch.testing.assert_close(decoded, boxes)


def test_goldens(goldens: Path) -> None:
    golden = {key: torch.from_numpy(value) for key, value in np.load(goldens / "lufficc" / "box_coding.npz").items()}
    coder = BoxCoder(golden["center_variance"].item(), golden["size_variance"].item())
    encoded = coder.encode(golden["boxes_center"], golden["priors"])
    torch.testing.assert_close(encoded, golden["encoded"], rtol=1e-6, atol=1e-6)
    decoded = coder.decode(golden["random_locations"], golden["priors"])
    torch.testing.assert_close(decoded, golden["decoded_random"], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(center_to_corner(golden["boxes_center"]), golden["boxes_corner"], rtol=0, atol=1e-7)
    torch.testing.assert_close(corner_to_center(golden["boxes_corner"]), golden["boxes_center_back"], rtol=0, atol=1e-7)
