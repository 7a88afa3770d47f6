"""The candidates of one level for the fit of priors.

N boxes, M sizes, R entries that ASPECT_RATIOS of the level may have.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from ssd.tools.priors.layout import Layout
from ssd.tools.priors.objective import CHANGE_COST, FitBoxes, level_overlaps

_STEPS_PER_OCTAVE = 8
_SLACK = math.sqrt(2)  # a level's squares leave the sizes that it is for by at most half an octave


@dataclass(frozen=True)
class Choice:
    """The shapes of a level, as indices into its candidates: small square, large square, items of ratios."""

    small: int
    large: int
    items: tuple[int, ...]


class LevelFit:
    """The candidates of one level, and what they are worth.

    Args:
        layout: that is fitted.
        level: from 0.
        boxes: to fit to.
        items: of ratios, all that may be chosen; each is a number or a pair.
        max_ratios: see ``fit_priors``.
    """

    def __init__(self, layout: Layout, level: int, boxes: FitBoxes, items: Sequence[Any], max_ratios: int | None):
        small, large = layout.shapes[level][0][0], layout.shapes[level][1][0]
        self.sizes = _candidate_sizes(layout, level)
        aspects = torch.tensor([1.0, *(aspect for item in items for aspect in _aspects(item))])
        table = level_overlaps(boxes.boxes, layout, level, self.sizes, aspects)
        self.squares = table[:, :, 0]  # (N, M)
        self.ratios = table[:, :, 1:].unflatten(2, (len(items), 2)).amax(dim=3)  # (N, M, R)
        own = tuple(items.index(item) for item in layout.aspect_ratios[level])[:max_ratios]
        self.start = Choice(self.sizes.index(small), self.sizes.index(large), own)
        counts = [len(own)] if max_ratios is None else range(max_ratios + 1)
        others = (chosen for count in counts for chosen in combinations(range(len(items)), count))
        self.item_sets = [own, *(chosen for chosen in others if set(chosen) != set(own))]

    def overlaps(self, choice: Choice) -> Tensor:
        """Return the best IoU (N,) of each box on this level."""
        columns = [self.squares[:, choice.small], self.squares[:, choice.large]]
        columns += [self.ratios[:, choice.small, item] for item in choice.items]
        return torch.stack(columns).amax(dim=0)

    def cost(self, choice: Choice) -> float:
        """Return what the distance of a choice from the start costs."""
        sizes, start = self.sizes, self.start
        octaves = sum(
            abs(math.log2(sizes[a] / sizes[b])) for a, b in ((choice.small, start.small), (choice.large, start.large))
        )
        return CHANGE_COST * (octaves + len(set(choice.items) ^ set(start.items)) / 2)

    def size_candidates(self, items: tuple[int, ...]) -> tuple[list[Choice], Tensor]:
        """Return all pairs of sizes with given ratios, and their IoU (N, candidates)."""
        of_small = torch.stack([self.squares, *(self.ratios[:, :, item] for item in items)]).amax(dim=0)  # (N, M)
        pairs = list(combinations(range(len(self.sizes)), 2))  # the smaller one first
        small, large = torch.tensor(pairs).T
        return [Choice(a, b, items) for a, b in pairs], of_small[:, small].maximum(self.squares[:, large])

    def item_candidates(self, small: int, large: int) -> tuple[list[Choice], Tensor]:
        """Return all sets of ratios with given sizes, and their IoU (N, candidates)."""
        squares = self.squares[:, small].maximum(self.squares[:, large])
        columns = [
            torch.cat([squares[:, None], self.ratios[:, small, list(items)]], dim=1).amax(dim=1)
            for items in self.item_sets
        ]
        return [Choice(small, large, items) for items in self.item_sets], torch.stack(columns, dim=1)


def size_bounds(layout: Layout, level: int) -> tuple[float, float]:
    """Return the least and the largest side in pixels that a square of a level may have.

    Half an octave beyond the sizes that the level is for; the level of the smallest sizes goes down to its stride,
    since no other one is there for what is smaller.
    """
    low, high = layout.min_sizes[level] / _SLACK, layout.max_sizes[level] * _SLACK
    if layout.min_sizes[level] == min(layout.min_sizes):
        low = min(layout.pixel_strides[level], layout.min_sizes[level])
    return low, max(layout.min_sizes[level], min(high, max(layout.image_size)))


def _candidate_sizes(layout: Layout, level: int) -> list[float]:
    """Whole pixels, an eighth of an octave apart, within the bounds; and the squares that are there."""
    low, high = size_bounds(layout, level)
    count = math.floor(math.log2(high / low) * _STEPS_PER_OCTAVE) + 1
    sizes = {float(round(low * 2 ** (n / _STEPS_PER_OCTAVE))) for n in range(count)}
    return sorted(sizes | {layout.shapes[level][0][0], layout.shapes[level][1][0]})


def _aspects(item: Any) -> tuple[float, float]:
    """Width over height of the two priors of an entry in ASPECT_RATIOS."""
    if isinstance(item, Sequence):
        wide, upright = item
        return wide, upright
    return item, 1 / item
