"""Where each prior stands."""

import math
from typing import NamedTuple

from torch import Tensor

from ssd.modeling.anchors import PriorBox


class Level(NamedTuple):
    """A feature map.

    Attributes:
        number: from 1, the finest.
        feature_map: (rows, columns) in cells.
        stride: (y, x) pixels from cell to cell.
        first: index of its first prior.
        shapes: (width, height) in pixels of the priors of a cell.
    """

    number: int
    feature_map: tuple[int, int]
    stride: tuple[float, float]
    first: int
    shapes: list[tuple[float, float]]

    @property
    def num_priors(self) -> int:
        """Priors of the whole map."""
        return math.prod(self.feature_map) * len(self.shapes)


class Place(NamedTuple):
    """Where a prior stands.

    Attributes:
        level: from 1.
        row: of its cell, from 0.
        column: likewise.
        shape: which of the priors of the cell, from 0.
    """

    level: int
    row: int
    column: int
    shape: int


def make_levels(prior_box: PriorBox, priors: Tensor) -> list[Level]:
    """Tell which priors belong to which level.

    Args:
        prior_box: what laid them out.
        priors: (P, 4) centre form in pixels.
    """
    levels: list[Level] = []
    first = 0
    for feature_map, stride, shapes in zip(prior_box.feature_maps, prior_box.strides, prior_box.shapes, strict=True):
        sizes = [(width, height) for width, height in priors[first : first + len(shapes), 2:].tolist()]  # as clipped
        levels.append(Level(len(levels) + 1, feature_map, stride, first, sizes))
        first += levels[-1].num_priors
    return levels


def place_of(prior: int, levels: list[Level]) -> Place:
    """Return where the prior with this index stands."""
    level = next(level for level in reversed(levels) if level.first <= prior)
    cell, shape = divmod(prior - level.first, len(level.shapes))
    return Place(level.number, *divmod(cell, level.feature_map[1]), shape)
