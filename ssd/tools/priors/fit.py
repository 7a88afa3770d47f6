"""Fits MIN_SIZES, MAX_SIZES and ASPECT_RATIOS of a layout to boxes: a search level by level from what is there.

Deterministic: no random numbers, and of equal candidates the first. N boxes, K levels.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssd.tools.priors.layout import AspectRatios, Layout
from ssd.tools.priors.level_fit import Choice, LevelFit
from ssd.tools.priors.objective import MISPLACEMENT_COST, FitBoxes, misplacement, overlap_worth

RATIOS = (1.25, 1.5, 1.75, 2, 2.5, 3, 4)
_MAX_SWEEPS = 10
_LEAST_GAIN = 1e-6  # of the objective; less is rounding


@dataclass(frozen=True)
class FittedPriors:
    """The result.

    Attributes:
        min_sizes: MODEL.PRIORS.MIN_SIZES.
        max_sizes: MODEL.PRIORS.MAX_SIZES.
        aspect_ratios: MODEL.PRIORS.ASPECT_RATIOS.
        objective_before: of the layout that was fitted.
        objective: of the result.
        num_sweeps: over all levels until nothing changed.
    """

    min_sizes: list[float]
    max_sizes: list[float]
    aspect_ratios: AspectRatios
    objective_before: float
    objective: float
    num_sweeps: int


class _Fit:
    """The search.

    Args:
        layout: to begin with.
        boxes: to fit to.
        max_ratios: see ``fit_priors``.
    """

    def __init__(self, layout: Layout, boxes: FitBoxes, max_ratios: int | None):
        own = [item for ratios in layout.aspect_ratios for item in ratios]
        self.items: list[Any] = [item for n, item in enumerate([*own, *RATIOS]) if item not in [*own, *RATIOS][:n]]
        self.threshold = layout.iou_threshold
        self.weights = boxes.weights
        self.misplacement = misplacement(boxes.sides, layout)  # (K, N)
        levels = range(layout.num_levels)
        self.levels = [LevelFit(layout, level, boxes, self.items, max_ratios) for level in levels]
        self.choices = [level.start for level in self.levels]
        self.overlaps = torch.stack([level.overlaps(level.start) for level in self.levels])  # (K, N)

    def objective(self) -> float:
        """Return the objective of the present choices."""
        best, landing = self.overlaps.max(dim=0)
        misplaced = self.misplacement.gather(0, landing[None])[0]
        worth = self._worth(best[:, None], misplaced[:, None]).item()
        return worth - sum(level.cost(choice) for level, choice in zip(self.levels, self.choices, strict=True))

    def sweep_until_settled(self) -> int:
        """Improve level after level until nothing changes; return how often all levels had their turn."""
        for num_sweeps in range(1, _MAX_SWEEPS + 1):
            before = list(self.choices)
            for level in range(len(self.levels)):
                self.improve(level)
            if self.choices == before:
                return num_sweeps
        return _MAX_SWEEPS

    def result(self, level: int, layout: Layout) -> tuple[float, float, list[Any]]:
        """Return a level's entries in MIN_SIZES, MAX_SIZES and ASPECT_RATIOS; sizes that have not moved stay exact."""
        fit, choice = self.levels[level], self.choices[level]
        small, large = fit.sizes[choice.small], fit.sizes[choice.large]
        small = small if choice.small == fit.start.small else round(small, 1)  # the old large square may be any number
        is_same = (choice.small, choice.large) == (fit.start.small, fit.start.large)
        max_size = layout.max_sizes[level] if is_same else round(large**2 / small, 1)
        return small, max_size, [self.items[item] for item in choice.items]

    def improve(self, level: int) -> None:
        """Give a level the best sizes, then for each small size the best ratios."""
        fit = self.levels[level]
        self._take_best(level, *fit.size_candidates(self.choices[level].items))
        large = self.choices[level].large
        for small in range(large):
            self._take_best(level, *fit.item_candidates(small, large))

    def _take_best(self, level: int, choices: list[Choice], overlaps: Tensor) -> None:
        """Take the best of candidates, whose IoU is (N, candidates), if it is better than what is there."""
        is_other = torch.arange(len(self.levels)) != level
        if is_other.any():
            elsewhere, landing = self.overlaps[is_other].max(dim=0)
            misplaced_elsewhere = self.misplacement[is_other].gather(0, landing[None])[0]
        else:
            elsewhere, misplaced_elsewhere = torch.zeros_like(self.weights), self.misplacement[level]

        def worth(iou: Tensor) -> Tensor:  # (N, candidates) -> (candidates,)
            is_here = iou > elsewhere[:, None]
            misplaced = torch.where(is_here, self.misplacement[level][:, None], misplaced_elsewhere[:, None])
            return self._worth(iou.maximum(elsewhere[:, None]), misplaced)

        cost = self.levels[level].cost
        values = worth(overlaps) - torch.tensor([cost(choice) for choice in choices])
        present = worth(self.overlaps[level][:, None]).item() - cost(self.choices[level])
        winner = int(values.argmax())
        if values[winner].item() > present + _LEAST_GAIN:
            self.choices[level] = choices[winner]
            self.overlaps[level] = overlaps[:, winner]

    def _worth(self, iou: Tensor, misplaced: Tensor) -> Tensor:
        """Weighted worth (candidates,) of IoU and misplacement (N, candidates)."""
        return self.weights @ (overlap_worth(iou, self.threshold) - MISPLACEMENT_COST * misplaced)


def fit_priors(layout: Layout, boxes: FitBoxes, max_ratios: int | None = None) -> FittedPriors:
    """Fit the priors of a layout to boxes.

    Args:
        layout: to begin with; what its levels are for is taken from it.
        boxes: to fit to.
        max_ratios: of a level at most; None = as many as it has.
    """
    fit = _Fit(layout, boxes, max_ratios)
    before = fit.objective()
    num_sweeps = fit.sweep_until_settled()
    results = [fit.result(level, layout) for level in range(layout.num_levels)]
    min_sizes, max_sizes, ratios = map(list, zip(*results, strict=True))
    return FittedPriors(min_sizes, max_sizes, ratios, before, fit.objective(), num_sweeps)
