"""Sizes follow facts: what the backbone gives is filled in, and what contradicts it is refused by name."""

import pytest
import torch
from torch import nn

from ssd.config import load_config
from ssd.modeling.backbone import VGG
from ssd.modeling.backbone.shapes import feature_shapes
from ssd.modeling.detector.levels import fill_in_levels, nominal_strides
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


def vgg_levels(*overrides: object) -> object:
    config = load_config(None, overrides)
    return fill_in_levels(config, VGG((300, 300)))


def test_values_that_agree_are_accepted() -> None:
    given = vgg_levels(
        *("MODEL.PRIORS.FEATURE_MAPS", [38, 19, 10, 5, 3, 1]),
        *("MODEL.PRIORS.STRIDES", [8, 16, 32, 64, 100, 300]),
        *("MODEL.PRIORS.BOXES_PER_LOCATION", [4, 6, 6, 6, 4, 4]),
        *("MODEL.BACKBONE.OUT_CHANNELS", (512, 1024, 512, 256, 256, 256)),
    )
    derived = vgg_levels()
    assert given.MODEL.BACKBONE.OUT_CHANNELS == derived.MODEL.BACKBONE.OUT_CHANNELS
    assert given.MODEL.PRIORS.FEATURE_MAPS == derived.MODEL.PRIORS.FEATURE_MAPS
    assert given.MODEL.PRIORS.BOXES_PER_LOCATION == derived.MODEL.PRIORS.BOXES_PER_LOCATION


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.PRIORS.FEATURE_MAPS", [38, 19], r"FEATURE_MAPS is .*BACKBONE\.NAME vgg at INPUT\.IMAGE_SIZE 300"),
        ("MODEL.BACKBONE.OUT_CHANNELS", (1, 2), r"OUT_CHANNELS is \[1, 2\], but .* gives \[512, 1024,"),
        ("MODEL.PRIORS.BOXES_PER_LOCATION", [6], r"PER_LOCATION is \[6\], but MODEL\.PRIORS\.ASPECT_RATIOS gives"),
        ("MODEL.PRIORS.MIN_SIZES", [30], r"MIN_SIZES has 1 entries \[30\], but MODEL\.BACKBONE\.NAME .* gives 6"),
        ("MODEL.PRIORS.STRIDES", [8, 16], r"STRIDES has 2 entries \[8, 16\], but"),
        ("MODEL.PRIORS.STRIDES", [8, 16, 32, 64, 100, 30], r"STRIDES has 30 .*not cover INPUT\.IMAGE_SIZE 300; .* 300"),
        ("MODEL.PRIORS.STRIDES", [99, 16, 32, 64, 100, 300], r"STRIDES has 99 for a map of \(38, 38\).* set about 8"),
    ],
)
def test_contradictions_name_both_keys(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        vgg_levels(key, value)


def test_an_image_that_vanishes_on_the_way() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 8, kernel_size=9), nn.Flatten(0, 0))
    with pytest.raises(ConfigError, match=r"INPUT\.IMAGE_SIZE \(5, 5\) does not pass through the backbone"):
        feature_shapes(backbone, (5, 5))
