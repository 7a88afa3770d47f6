"""Prior layout, by hand."""

import math

import pytest
import torch

from ssd.modeling.anchors import PriorBox
from ssd.modeling.anchors.prior_box import level_priors, prior_shapes


def test_shapes_of_one_cell() -> None:
    # Level 0 of SSD300 on VOC: 30; sqrt(30 * 60); 30 * sqrt 2 by 30 / sqrt 2; and upright.
    wide, narrow = 30 * math.sqrt(2), 30 / math.sqrt(2)
    between = math.sqrt(1800)
    assert prior_shapes(30, 60, [2]) == [(30, 30), (between, between), (wide, narrow), (narrow, wide)]
    assert prior_shapes(30, 60, [[4, 0.25]]) == prior_shapes(30, 60, [4])  # a pair of ratios
    assert prior_shapes(30, 60, [2, [4, 9]])[4:] == [(60, 15), (90, 10)]


def test_first_four_priors_of_ssd300() -> None:
    ratios = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
    sizes = [30, 60, 111, 162, 213, 264, 315]
    shapes = [prior_shapes(*level) for level in zip(sizes[:-1], sizes[1:], ratios, strict=True)]
    maps, strides = [(n, n) for n in (38, 19, 10, 5, 3, 1)], [(n, n) for n in (8, 16, 32, 64, 100, 300)]
    priors = PriorBox((300, 300), maps, strides, shapes)()
    assert priors.shape == (8732, 4)
    first = [[4, 4, 30, 30], [4, 4, 42.42640687, 42.42640687], [4, 4, 42.42640687, 21.21320344]]
    expected = torch.tensor([*first, [4, 4, 21.21320344, 42.42640687]]) / 300
    torch.testing.assert_close(priors[:4], expected)
    # The next cell lies one stride to the right, the next row one stride down.
    torch.testing.assert_close(priors[4, :2], torch.tensor([12 / 300, 4 / 300]))
    torch.testing.assert_close(priors[4 * 38, :2], torch.tensor([4 / 300, 12 / 300]))
    with pytest.raises(ValueError, match="zip"):
        PriorBox((300, 300), maps, strides[:1], shapes)()


def test_a_rectangle_keeps_pixels_square() -> None:
    priors = level_priors((100, 200), (2, 4), (50, 50), [(40, 40)])
    assert priors.shape == (8, 4)
    torch.testing.assert_close(priors[0], torch.tensor([25 / 200, 25 / 100, 0.2, 0.4], dtype=torch.float64))
    torch.testing.assert_close(priors[-1], torch.tensor([175 / 200, 75 / 100, 0.2, 0.4], dtype=torch.float64))


def test_an_offset_moves_the_centres() -> None:
    # Level 7 of a feature pyramid at 320 x 384 pixels: 384 is a multiple of 128, 320 is none.
    priors = PriorBox((320, 384), [(3, 3)], [(128, 128)], [[(64, 32)]], offsets=[(0, 0.5)])().view(3, 3, 4)
    torch.testing.assert_close(priors[:, 0, 1], torch.tensor([0, 128, 256]) / 320)
    torch.testing.assert_close(priors[0, :, 0], torch.tensor([64, 192, 320]) / 384)
    torch.testing.assert_close(priors[0, 0, 2:], torch.tensor([64 / 384, 32 / 320]))


@pytest.mark.parametrize("clip", [True, False, "size"])
def test_clip_clamps_size_and_centre(clip: bool | str) -> None:
    # The last of two cells at stride 256 has its centre at 384, beyond the image.
    priors = PriorBox((300, 300), [(2, 2)], [(256, 256)], [prior_shapes(264, 315, [2])], clip)()
    width = 264 * math.sqrt(2) / 300  # 1.2445
    assert priors[2, 2].item() == pytest.approx(1.0 if clip else width)
    assert priors[-1, 0].item() == pytest.approx(1.0 if clip is True else 384 / 300)
