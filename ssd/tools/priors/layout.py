"""The priors of a config, level by level."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from ssd.modeling.anchors.prior_box import prior_shapes
from ssd.modeling.backbone import build_backbone
from ssd.modeling.detector.levels import build_levels, make_prior_box
from ssd.structures.boxes import center_to_corner

AspectRatios = list[list[Any]]  # of each level: numbers, or pairs of them


@dataclass(frozen=True)
class Layout:
    """Priors as the network has them.

    Attributes:
        image_size: (height, width) of the network input in pixels.
        feature_maps: (rows, columns) of each level.
        strides: (y, x) pixels of each level.
        min_sizes: MODEL.PRIORS.MIN_SIZES.
        max_sizes: MODEL.PRIORS.MAX_SIZES.
        aspect_ratios: MODEL.PRIORS.ASPECT_RATIOS.
        clips_sizes: whether a prior is at most as large as the image.
        iou_threshold: MODEL.THRESHOLD.
        priors: (P, 4) centre form relative to the image.
    """

    image_size: tuple[int, int]
    feature_maps: list[tuple[int, int]]
    strides: list[tuple[float, float]]
    min_sizes: list[float]
    max_sizes: list[float]
    aspect_ratios: AspectRatios
    clips_sizes: bool
    iou_threshold: float
    priors: Tensor

    @property
    def num_levels(self) -> int:
        """Number of feature maps."""
        return len(self.feature_maps)

    @cached_property
    def corner_priors(self) -> Tensor:
        """(P, 4) corner form relative to the image."""
        return center_to_corner(self.priors)

    @property
    def shapes(self) -> list[list[tuple[float, float]]]:
        """Width and height in pixels of the priors of a cell, of each level."""
        return list(map(prior_shapes, self.min_sizes, self.max_sizes, self.aspect_ratios))

    @property
    def level_sizes(self) -> list[int]:
        """Priors of each level."""
        return [math.prod(size) * len(shapes) for size, shapes in zip(self.feature_maps, self.shapes, strict=True)]

    @property
    def pixel_strides(self) -> list[float]:
        """Stride of each level as one number, the geometric mean of both."""
        return [math.sqrt(y * x) for y, x in self.strides]

    def level_of(self, prior_index: Tensor) -> Tensor:
        """Return the levels, from 0, of priors."""
        return torch.bucketize(prior_index, torch.tensor(self.level_sizes).cumsum(0), right=True)

    def centers(self, level: int) -> tuple[Tensor, Tensor]:
        """Return x (columns,) and y (rows,) of the centres of a level, relative to the image."""
        priors = self.priors.split(self.level_sizes)[level]
        grid = priors.view(*self.feature_maps[level], -1, 4)
        return grid[0, :, 0, 0], grid[:, 0, 0, 1]


def make_layout(cfg: CfgNode) -> Layout:
    """Lay the priors of a config out; no weights are loaded.

    Raises:
        ConfigError: keys contradict each other or the backbone.
    """
    levels = build_levels(cfg, build_backbone(cfg, pretrained=False))
    priors = cfg.MODEL.PRIORS
    return Layout(
        image_size=levels.image_size,
        feature_maps=list(levels.feature_maps),
        strides=list(levels.strides),
        min_sizes=list(priors.MIN_SIZES),
        max_sizes=list(priors.MAX_SIZES),
        aspect_ratios=[list(ratios) for ratios in priors.ASPECT_RATIOS],
        clips_sizes=bool(priors.CLIP),
        iou_threshold=cfg.MODEL.THRESHOLD,
        priors=make_prior_box(cfg, levels)(),
    )


def with_priors(
    cfg: CfgNode, min_sizes: Sequence[float], max_sizes: Sequence[float], aspect_ratios: AspectRatios
) -> CfgNode:
    """Return a frozen copy of a config with other priors, of as many levels."""
    cfg = cfg.clone()
    cfg.defrost()
    priors = cfg.MODEL.PRIORS
    priors.MIN_SIZES, priors.MAX_SIZES, priors.ASPECT_RATIOS = list(min_sizes), list(max_sizes), aspect_ratios
    priors.BOXES_PER_LOCATION = []  # follows from the ratios
    cfg.freeze()
    return cfg


def without_weights(cfg: CfgNode) -> CfgNode:
    """Return a frozen copy of a config whose backbone starts from random weights."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAINED = False
    cfg.freeze()
    return cfg
