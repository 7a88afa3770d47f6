"""Priors, the "default boxes" of the paper: a fixed grid of boxes per feature map (SSD, Sec. 2.2)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from yacs.config import CfgNode

from ssd.structures.size import height_width


class PriorBox:
    """The priors of all levels of a network.

    Args:
        cfg: reads INPUT.IMAGE_SIZE and MODEL.PRIORS, whose FEATURE_MAPS and STRIDES must be filled in.

    Attributes:
        image_size: (height, width) of the network input in pixels.
        feature_maps: (height, width) of each level in cells.
        strides: (y, x) pixels from cell to cell of each level, as PRIORS.CENTERS says.
    """

    def __init__(self, cfg: CfgNode):
        priors = cfg.MODEL.PRIORS
        self.image_size = height_width(cfg.INPUT.IMAGE_SIZE)
        self.feature_maps = [height_width(size) for size in priors.FEATURE_MAPS]
        self.strides: list[tuple[float, float]] = [height_width(stride) for stride in priors.STRIDES]
        if priors.CENTERS == "map":
            height, width = self.image_size
            self.strides = [(height / rows, width / columns) for rows, columns in self.feature_maps]
        self.min_sizes = priors.MIN_SIZES
        self.max_sizes = priors.MAX_SIZES
        self.aspect_ratios = priors.ASPECT_RATIOS
        self.clip = priors.CLIP

    def __call__(self) -> Tensor:
        """Lay the priors out.

        Returns:
            Priors (P, 4), centre form relative to the image, float32: levels in order, cells row by row, and per cell
            the small square, the large square, then r:1 and 1:r for every ratio r.
        """
        shapes = map(prior_shapes, self.min_sizes, self.max_sizes, self.aspect_ratios)
        levels = [
            level_priors(self.image_size, feature_map, stride, level_shapes)
            for feature_map, stride, level_shapes in zip(self.feature_maps, self.strides, shapes, strict=True)
        ]
        priors = torch.cat(levels).float()
        if self.clip == "size":
            return torch.cat([priors[:, :2], priors[:, 2:].clamp(0, 1)], dim=1)
        # As the released weights were trained: all four centre-form numbers, so corners may still lie outside.
        return priors.clamp(0, 1) if self.clip else priors


def prior_shapes(
    min_size: float, max_size: float, aspect_ratios: Sequence[float | Sequence[float]]
) -> list[tuple[float, float]]:
    """Width and height in pixels of the priors of one cell.

    The paper's scale s_k is ``min_size`` and s_(k+1) is ``max_size``; the extra square has side sqrt(s_k s_(k+1)).
    A ratio r stands for r and 1 / r, a pair for itself.
    """
    between = math.sqrt(min_size * max_size)
    shapes = [(min_size, min_size), (between, between)]
    for ratio in aspect_ratios:
        if isinstance(ratio, Sequence):
            shapes += [(min_size * math.sqrt(one), min_size / math.sqrt(one)) for one in ratio]
        else:
            root = math.sqrt(ratio)
            shapes += [(min_size * root, min_size / root), (min_size / root, min_size * root)]
    return shapes


def level_priors(
    image_size: tuple[int, int],
    feature_map: tuple[int, int],
    stride: tuple[float, float],
    shapes: Sequence[tuple[float, float]],
) -> Tensor:
    """Repeat the shapes of one cell over a feature map.

    Args:
        image_size: (height, width) of the network input in pixels.
        feature_map: (height, width) of the map in cells.
        stride: (y, x) distance of neighbouring cells in pixels.
        shapes: (width, height) in pixels of each prior of a cell.

    Returns:
        Priors (height * width * len(shapes), 4), centre form relative to the image, float64.
    """
    (height, width), (rows, columns), (stride_y, stride_x) = image_size, feature_map, stride
    center_y = (torch.arange(rows, dtype=torch.float64) + 0.5) / (height / stride_y)
    center_x = (torch.arange(columns, dtype=torch.float64) + 0.5) / (width / stride_x)
    sizes = torch.tensor(shapes, dtype=torch.float64) / torch.tensor([width, height], dtype=torch.float64)
    grid_y, grid_x = torch.meshgrid(center_y, center_x, indexing="ij")
    centers = torch.stack([grid_x, grid_y], dim=-1).view(-1, 1, 2)  # (cells, 1, 2)
    centers, sizes = torch.broadcast_tensors(centers, sizes)  # (cells, shapes, 2) each
    return torch.cat([centers, sizes], dim=-1).view(-1, 4)
