"""Sizes follow facts: what the backbone gives is filled in, and what contradicts it is refused by name."""

import pytest
import torch
from torch import nn

from ssd.config import load_config
from ssd.modeling.backbone import VGG
from ssd.modeling.backbone.stages import feature_shapes
from ssd.modeling.detector.levels import Levels, build_levels, make_prior_box, nominal_strides
from ssd.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("pixels", "maps", "strides"),
    [
        (300, [38, 19, 10, 5, 3, 1], [8, 16, 32, 64, 100, 300]),
        (512, [64, 32, 16, 8, 4, 2, 1], [8, 16, 32, 64, 128, 256, 512]),
        (320, [20, 10, 5, 3, 2, 1], [16, 32, 64, 107, 160, 320]),
    ],
)
def test_nominal_strides_are_those_of_the_released_configs(pixels: int, maps: list[int], strides: list[int]) -> None:
    derived = [nominal_strides((pixels, pixels), (cells, cells)) for cells in maps]
    assert derived == [(stride, stride) for stride in strides]


@pytest.mark.parametrize(
    ("image_size", "maps"),
    [
        ((300, 300), [(38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)]),
        ((300, 500), [(38, 63), (19, 31), (10, 16), (5, 8), (3, 6), (1, 4)]),
        ((256, 256), [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]),
        ((512, 512), [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]),
        ((65, 40), [(8, 5), (4, 2), (2, 1), (1, 1)]),
    ],
)
def test_shapes_are_those_of_a_real_forward(image_size: tuple[int, int], maps: list[tuple[int, int]]) -> None:
    backbone = VGG(image_size)
    shapes = feature_shapes(backbone, image_size)
    assert [shape[1:] for shape in shapes] == maps
    assert backbone.training
    if max(image_size) < 512:
        with torch.no_grad():
            real = backbone(torch.zeros(1, 3, *image_size))
        assert shapes == [tuple(feature.shape[1:]) for feature in real]


def vgg_levels(*overrides: object) -> Levels:
    return build_levels(load_config(None, overrides), VGG((300, 300)))


def test_values_that_agree_are_accepted() -> None:
    given = vgg_levels(
        *("MODEL.PRIORS.FEATURE_MAPS", [38, 19, 10, 5, 3, 1]),
        *("MODEL.PRIORS.STRIDES", [8, 16, 32, 64, 100, 300]),
        *("MODEL.PRIORS.BOXES_PER_LOCATION", [4, 6, 6, 6, 4, 4]),
        *("MODEL.BACKBONE.OUT_CHANNELS", (512, 1024, 512, 256, 256, 256)),
    )
    assert given == vgg_levels()
    assert given.boxes_per_location == [4, 6, 6, 6, 4, 4]
    assert given.num_priors == 8732
    assert given.strides == [(n, n) for n in (8, 16, 32, 64, 100, 300)]


def test_centres_by_stride_or_by_map() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=(100, 8), padding=1), nn.Unflatten(0, (1, -1)))
    layout = ["INPUT.IMAGE_SIZE", (200, 300), "MODEL.PRIORS.MIN_SIZES", [10], "MODEL.PRIORS.MAX_SIZES", [20]]
    layout += ["MODEL.PRIORS.ASPECT_RATIOS", [[]], "MODEL.PRIORS.STRIDES", [(100, 8)]]
    configs = [load_config(None, [*layout, "MODEL.PRIORS.CENTERS", centers]) for centers in ("stride", "map")]
    by_stride, by_map = (make_prior_box(cfg, build_levels(cfg, backbone))() for cfg in configs)
    assert by_stride[-1, 0].item() == pytest.approx(37.5 * 8 / 300)
    assert by_map[-1, 0].item() == pytest.approx(37.5 / 38)
    torch.testing.assert_close(by_map[:, 1:], by_stride[:, 1:])


def test_cells_outside_the_image_are_counted() -> None:
    levels = vgg_levels("MODEL.PRIORS.STRIDES", [99, 16, 32, (64, 70), 100, 300])
    expected = 4 * (38**2 - 4**2)
    assert levels.num_outside == expected
    assert f"8732 priors, {expected} of them" in str(levels)
    assert (vgg_levels().num_outside, "outside" in str(vgg_levels())) == (0, False)


def test_shapes_take_the_place_of_sizes_and_ratios() -> None:
    shapes = [[(30, 30), (42.5, 21)], *[[(60, 60)]] * 5]
    unused = ["MODEL.PRIORS.MIN_SIZES", [1], "MODEL.PRIORS.BOXES_PER_LOCATION", [2, 1, 1, 1, 1, 1]]
    levels = vgg_levels("MODEL.PRIORS.SHAPES", shapes, "MODEL.PRIORS.OFFSETS", [0.5, 0, 0.5, (0, 0.5), 0, 1], *unused)
    assert levels.shapes == shapes
    assert levels.offsets[2:4] == [(0.5, 0.5), (0, 0.5)]
    with pytest.raises(ConfigError, match=r"BOXES_PER_LOCATION.*SHAPES"):
        vgg_levels("MODEL.PRIORS.SHAPES", shapes, "MODEL.PRIORS.BOXES_PER_LOCATION", [4, 6, 6, 6, 4, 4])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.PRIORS.FEATURE_MAPS", [38, 19], r"FEATURE_MAPS.*vgg.*300"),
        ("MODEL.BACKBONE.OUT_CHANNELS", (1, 2), r"OUT_CHANNELS.*\[512, 1024,"),
        ("MODEL.PRIORS.BOXES_PER_LOCATION", [6], r"BOXES_PER_LOCATION.*ASPECT_RATIOS"),
        ("MODEL.PRIORS.MIN_SIZES", [30], r"MIN_SIZES.*\[30\].*6"),
        ("MODEL.PRIORS.STRIDES", [8, 16], r"STRIDES.*\[8, 16\]"),
        ("MODEL.PRIORS.STRIDES", [8, 16, 32, 64, 100, 30], r"STRIDES.*30.* 300"),
        ("MODEL.PRIORS.OFFSETS", [0.5], r"OFFSETS.*\[0.5\].*6"),
        ("MODEL.PRIORS.SHAPES", [[(30, 30)]], r"SHAPES.*6"),
    ],
)
def test_contradictions_name_both_keys(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        vgg_levels(key, value)
