"""Levels: channels, feature maps, strides and priors that follow from the backbone and the input size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from yacs.config import CfgNode

from ssd.modeling.anchors import PriorBox
from ssd.modeling.anchors.prior_box import Shapes, prior_shapes
from ssd.modeling.backbone.stages import feature_shapes
from ssd.structures.boxes import height_width
from ssd.utils.errors import ConfigError


@dataclass(frozen=True)
class Levels:
    """Feature maps of a detector, the finest first; each list has one entry for each level."""

    image_size: tuple[int, int]  # (height, width) of the network input in pixels
    channels: Sequence[int]  # of the maps
    feature_maps: Sequence[tuple[int, int]]  # (height, width) in cells
    strides: Sequence[tuple[float, float]]  # (y, x) distance of the priors of neighbouring cells in pixels
    shapes: Sequence[Shapes]  # (width, height) in pixels of the priors of a cell
    # (y, x) of the first centre in strides from the corner of the image; empty = (0.5, 0.5) on every level
    offsets: Sequence[tuple[float, float]] = ()

    @property
    def boxes_per_location(self) -> list[int]:
        """Number of priors of a cell."""
        return [len(shapes) for shapes in self.shapes]

    @property
    def num_priors(self) -> int:
        """Number of priors of all levels."""
        cells = [height * width for height, width in self.feature_maps]
        return sum(count * boxes for count, boxes in zip(cells, self.boxes_per_location, strict=True))

    @property
    def num_outside(self) -> int:
        """Number of priors of cells outside the image, as strides that are too large for a map give."""
        total = 0
        for cells, strides, shapes in zip(self.feature_maps, self.strides, self.shapes, strict=True):
            along = zip(self.image_size, cells, strides, strict=True)
            inside = [sum(index * stride < side for index in range(n)) for side, n, stride in along]
            total += (math.prod(cells) - math.prod(inside)) * len(shapes)
        return total

    def __str__(self) -> str:
        maps = ", ".join(f"{height}x{width}" for height, width in self.feature_maps)
        outside = f", {self.num_outside} of them outside the image" if self.num_outside else ""
        return f"Feature maps {maps}; {self.num_priors} priors{outside}"


def build_levels(cfg: CfgNode, network: nn.Module) -> Levels:
    """Derive the levels of a network, backbone and neck, and check the keys of the config that describe them."""
    image_size = height_width(cfg.INPUT.IMAGE_SIZE)
    network_shapes = feature_shapes(network, image_size)
    channels, maps = [shape[0] for shape in network_shapes], [shape[1:] for shape in network_shapes]
    neck = "" if cfg.MODEL.NECK.NAME == "none" else f" with MODEL.NECK.NAME {cfg.MODEL.NECK.NAME}"
    source = f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME}{neck} at INPUT.IMAGE_SIZE {cfg.INPUT.IMAGE_SIZE}"

    priors = cfg.MODEL.PRIORS
    _check_lengths(priors, len(maps), source)
    _check(cfg.MODEL.BACKBONE.OUT_CHANNELS, channels, "MODEL.BACKBONE.OUT_CHANNELS", source)
    _check([height_width(size) for size in priors.FEATURE_MAPS], maps, "MODEL.PRIORS.FEATURE_MAPS", source)
    shapes: list[Shapes] = [[(width, height) for width, height in level] for level in priors.SHAPES]
    if not shapes:
        sizes = zip(priors.MIN_SIZES, priors.MAX_SIZES, priors.ASPECT_RATIOS, strict=True)
        shapes = [prior_shapes(*level) for level in sizes]
    counts, shapes_key = [len(level) for level in shapes], "SHAPES" if priors.SHAPES else "ASPECT_RATIOS"
    _check(priors.BOXES_PER_LOCATION, counts, "MODEL.PRIORS.BOXES_PER_LOCATION", f"MODEL.PRIORS.{shapes_key}")
    if priors.STRIDES:
        _check_strides(priors.STRIDES, maps, cfg.INPUT.IMAGE_SIZE)
    strides: list[tuple[float, float]]
    if priors.CENTERS == "map":
        strides = [(image_size[0] / rows, image_size[1] / columns) for rows, columns in maps]
    elif priors.STRIDES:
        strides = [height_width(stride) for stride in priors.STRIDES]
    else:
        strides = [nominal_strides(image_size, size) for size in maps]
    offsets = [tuple(offset) if isinstance(offset, Sequence) else (offset, offset) for offset in priors.OFFSETS]
    return Levels(image_size, channels, maps, strides, shapes, offsets)


def make_prior_box(cfg: CfgNode, levels: Levels) -> PriorBox:
    """Build the layout of the priors of ``levels``; reads MODEL.PRIORS.CLIP."""
    clip = cfg.MODEL.PRIORS.CLIP
    return PriorBox(levels.image_size, levels.feature_maps, levels.strides, levels.shapes, clip, levels.offsets)


def nominal_strides(image_size: tuple[int, int], feature_map: tuple[int, int]) -> tuple[int, int]:
    """Return the distance of neighbouring cells in pixels, (y, x): the near power of two, else the rounded ratio.

    For 300 pixels and maps of 38, 19, 10, 5, 3 and 1 cells these are the paper's: 8, 16, 32, 64, 100 and 300.
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
        as_lists = [list(value) if isinstance(value, tuple) else value for value in derived]  # as YAML has them
        raise ConfigError(f"{key} is {list(given)}, but {source} gives {as_lists}; set it so, or leave it empty")


def _check_lengths(priors: CfgNode, num_levels: int, source: str) -> None:
    required = ("SHAPES",) if priors.SHAPES else ("MIN_SIZES", "MAX_SIZES", "ASPECT_RATIOS")
    for name in (*required, "STRIDES", "OFFSETS"):
        values = priors[name]
        if len(values) != num_levels and (values or name in required):
            raise ConfigError(
                f"MODEL.PRIORS.{name} has {len(values)} entries {list(values)}, "
                f"but {source} gives {num_levels} feature maps, which need one each"
            )


def _check_strides(strides: Sequence[Any], maps: Sequence[tuple[int, int]], image_size: Any) -> None:
    """Check that each map at its stride covers the image, within one cell; it may be larger (see ``num_outside``)."""
    for stride, cells in zip(strides, maps, strict=True):
        for distance, count, pixels in zip(height_width(stride), cells, height_width(image_size), strict=True):
            if pixels - distance * count >= distance:
                raise ConfigError(
                    f"MODEL.PRIORS.STRIDES has {stride} for a map of {cells} cells, which are "
                    f"{pixels / count:.3g} pixels apart in INPUT.IMAGE_SIZE {image_size}; leave STRIDES empty"
                )
