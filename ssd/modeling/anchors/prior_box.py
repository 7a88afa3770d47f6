"""Priors, the "default boxes" of the paper: a fixed grid of boxes on every feature map (SSD, Sec. 2.2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

YX = tuple[float, float]  # (y, x)
Shapes = Sequence[tuple[float, float]]  # (width, height) in pixels of each prior of a cell


@dataclass(frozen=True)
class PriorBox:
    """Compute the priors of all levels; see Levels on the fields.

    ``clip`` True clips all four numbers of the centre form to [0, 1], as for the released weights of the paper (corners
    may still be outside); "size" clips width and height alone.
    """

    image_size: tuple[int, int]
    feature_maps: Sequence[tuple[int, int]]
    strides: Sequence[YX]
    shapes: Sequence[Shapes]
    clip: bool | str = False
    offsets: Sequence[YX] = ()

    def __call__(self) -> Tensor:
        """Return the priors (P, 4), centre form relative to the image: level by level, row by row, cell by cell."""
        offsets = self.offsets or [(0.5, 0.5)] * len(self.shapes)
        levels = zip(self.feature_maps, self.strides, self.shapes, offsets, strict=True)
        priors = torch.cat([level_priors(self.image_size, *level) for level in levels]).float()
        if self.clip == "size":
            return torch.cat([priors[:, :2], priors[:, 2:].clamp(0, 1)], dim=1)
        return priors.clamp(0, 1) if self.clip else priors


def prior_shapes(
    min_size: float, max_size: float, aspect_ratios: Sequence[float | Sequence[float]]
) -> list[tuple[float, float]]:
    """Return (width, height) in pixels of the priors of one cell (SSD, Sec. 2.2).

    The paper's scale s_k is ``min_size`` and s_(k+1) is ``max_size``: first the small square, then the extra square of
    side sqrt(s_k s_(k+1)), then r:1 and 1:r for every ratio r. A pair of ratios stands for these two alone.
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


def level_priors(image_size: YX, feature_map: YX, stride: YX, shapes: Shapes, offset: YX = (0.5, 0.5)) -> Tensor:
    """Repeat the shapes of one cell over a feature map: (cells * shapes, 4), centre form relative to the image."""
    (height, width), (rows, columns), (stride_y, stride_x) = image_size, feature_map, stride
    center_y = (torch.arange(rows, dtype=torch.float64) + offset[0]) / (height / stride_y)
    center_x = (torch.arange(columns, dtype=torch.float64) + offset[1]) / (width / stride_x)
    sizes = torch.tensor(shapes, dtype=torch.float64) / torch.tensor([width, height], dtype=torch.float64)
    grid_y, grid_x = torch.meshgrid(center_y, center_x, indexing="ij")
    centers = torch.stack([grid_x, grid_y], dim=-1).view(-1, 1, 2)  # (cells, 1, 2)
    centers, sizes = torch.broadcast_tensors(centers, sizes)  # (cells, shapes, 2) each
    return torch.cat([centers, sizes], dim=-1).view(-1, 4)
