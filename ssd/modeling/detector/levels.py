"""What follows from the backbone: channels and size of every level, strides, priors per cell."""

import logging
import math
from collections.abc import Sequence
from typing import Any

from torch import nn
from yacs.config import CfgNode

from ssd.modeling.backbone.shapes import feature_shapes
from ssd.structures.size import height_width
from ssd.utils.errors import ConfigError

logger = logging.getLogger(__name__)


def fill_in_levels(cfg: CfgNode, backbone: nn.Module) -> CfgNode:
    """Fill in, or check, the keys that follow from the backbone and the input size.

    Args:
        cfg: the configuration; not changed.
        backbone: the network that MODEL.BACKBONE.NAME names.

    Returns:
        A copy with BACKBONE.OUT_CHANNELS and PRIORS.FEATURE_MAPS, STRIDES and BOXES_PER_LOCATION set.

    Raises:
        ConfigError: a given value contradicts the backbone, or the lists of PRIORS differ in length.
    """
    cfg = cfg.clone()
    cfg.defrost()
    image_size = height_width(cfg.INPUT.IMAGE_SIZE)
    shapes = feature_shapes(backbone, image_size)
    channels, maps = [shape[0] for shape in shapes], [shape[1:] for shape in shapes]
    source = f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME} at INPUT.IMAGE_SIZE {cfg.INPUT.IMAGE_SIZE}"

    priors = cfg.MODEL.PRIORS
    _check_lengths(priors, len(maps), source)
    _check(cfg.MODEL.BACKBONE.OUT_CHANNELS, channels, "MODEL.BACKBONE.OUT_CHANNELS", source)
    _check([height_width(size) for size in priors.FEATURE_MAPS], maps, "MODEL.PRIORS.FEATURE_MAPS", source)
    per_location = [2 + 2 * len(ratios) for ratios in priors.ASPECT_RATIOS]
    _check(priors.BOXES_PER_LOCATION, per_location, "MODEL.PRIORS.BOXES_PER_LOCATION", "MODEL.PRIORS.ASPECT_RATIOS")

    cfg.MODEL.BACKBONE.OUT_CHANNELS = tuple(channels)
    priors.FEATURE_MAPS = maps
    priors.BOXES_PER_LOCATION = per_location
    if priors.STRIDES:
        _check_strides(priors.STRIDES, maps, cfg.INPUT.IMAGE_SIZE)
    else:
        priors.STRIDES = [nominal_strides(image_size, size) for size in maps]
    cfg.freeze()
    return cfg


def nominal_strides(image_size: tuple[int, int], feature_map: tuple[int, int]) -> tuple[int, int]:
    """Distance of neighbouring cells in pixels, (y, x): the power of two that is near, else the ratio, rounded.

    This gives the strides that the paper's authors wrote down: 8, 16, 32, 64, 100, 300 for 300 pixels and maps
    of 38, 19, 10, 5, 3, 1 cells.
    """

    def along(pixels: int, cells: int) -> int:
        if cells == 1:
            return pixels
        ratio = pixels / cells
        power = 2 ** round(math.log2(ratio))
        return power if abs(ratio / power - 1) < 1 / 8 else round(ratio)

    return along(image_size[0], feature_map[0]), along(image_size[1], feature_map[1])


def _check(given: Sequence[Any], derived: list[Any], key: str, source: str) -> None:
    if given and list(given) != derived:
        raise ConfigError(f"{key} is {list(given)}, but {source} gives {derived}; set it so, or leave it empty")


def _check_lengths(priors: CfgNode, num_levels: int, source: str) -> None:
    lists = {
        "MIN_SIZES": priors.MIN_SIZES,
        "MAX_SIZES": priors.MAX_SIZES,
        "ASPECT_RATIOS": priors.ASPECT_RATIOS,
        "STRIDES": priors.STRIDES or [0] * num_levels,
    }
    for name, values in lists.items():
        if len(values) != num_levels:
            raise ConfigError(
                f"MODEL.PRIORS.{name} has {len(values)} entries {list(values)}, "
                f"but {source} gives {num_levels} feature maps, which need one each"
            )


def _check_strides(strides: Sequence[Any], maps: Sequence[tuple[int, int]], image_size: Any) -> None:
    """A map at its stride covers the image, give or take less than one cell."""
    for stride, cells in zip(strides, maps, strict=True):
        for distance, count, pixels in zip(height_width(stride), cells, height_width(image_size), strict=True):
            if abs(distance * count - pixels) >= distance:
                raise ConfigError(
                    f"MODEL.PRIORS.STRIDES has {stride} for a map of {cells} cells, which does not cover "
                    f"INPUT.IMAGE_SIZE {image_size}; set about {round(pixels / count)}, or leave STRIDES empty"
                )


def log_levels(priors: CfgNode) -> None:
    """Log the size of every level; ``priors`` is MODEL.PRIORS as ``fill_in_levels`` returns it."""
    maps = ", ".join(f"{height}x{width}" for height, width in priors.FEATURE_MAPS)
    cells = [height * width for height, width in priors.FEATURE_MAPS]
    count = sum(n * boxes for n, boxes in zip(cells, priors.BOXES_PER_LOCATION, strict=True))
    logger.info("Feature maps %s; %d priors", maps, count)
