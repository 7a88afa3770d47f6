"""Fit of MIN_SIZES, MAX_SIZES and ASPECT_RATIOS to boxes, level by level (docs/priors.md has the objective).

Deterministic: no random numbers, and the first of equal candidates wins. Sides are square roots of areas in pixels of
the network input. N boxes, K levels, M sizes, R entries that ASPECT_RATIOS of a level may have, S shapes.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssd.tools.priors.coverage import ImageBoxes
from ssd.tools.priors.layout import Layout, PriorSizes

RATIOS = (1.25, 1.5, 1.75, 2, 2.5, 3, 4)
_MAX_BOXES = 5000  # of a set
_RAMP = 0.2  # an IoU this far below the threshold is worth nothing, this far above it is worth 1
_MISPLACEMENT_COST = 0.2  # of a box that is an octave outside the sizes of its level
_CHANGE_COST = 0.002  # of moving a size by an octave, or of exchanging a ratio
_SLACK = math.sqrt(2)  # squares leave the sizes of their level by at most half an octave
_STEPS_PER_OCTAVE = 8
_MAX_SWEEPS = 10
_MIN_GAIN = 1e-6  # of the objective; less is rounding


class FitBoxes(NamedTuple):
    """Boxes to fit to."""

    boxes: Tensor  # (N, 4) corner form relative to the image
    weights: Tensor  # (N,) with sum 1
    sides: Tensor  # (N,)


class _Choice(NamedTuple):
    """Shapes of a level, as indices of its candidates."""

    small: int
    large: int
    items: tuple[int, ...]  # ratios


def fit_priors(layout: Layout, boxes: FitBoxes, max_ratios: int | None = None) -> PriorSizes:
    """Fit the priors of a layout to boxes; a level gets ``max_ratios`` ratios at most, None = those it has."""
    fit = _Fit(layout, boxes, max_ratios)
    for _ in range(_MAX_SWEEPS):
        choices = list(fit.choices)
        for level in range(len(choices)):
            fit.improve(level)
        if fit.choices == choices:
            break
    return fit.result(layout.sizes.max_sizes)


def make_fit_boxes(
    sets: Iterable[Sequence[ImageBoxes]], image_size: tuple[int, int], max_boxes: int = _MAX_BOXES
) -> FitBoxes:
    """Weigh boxes: sets equally, and in a set each class by the square root of its count.

    Of more than ``max_boxes`` of a set, evenly spaced ones are taken; ``image_size`` is (height, width) in pixels.
    """
    chosen, weights = [], []
    for images in sets:
        labels = torch.cat([image.labels for image in images])
        step = max(1, -(-len(labels) // max_boxes))
        labels = labels[::step]
        weight = labels.bincount().float()[labels].rsqrt()
        chosen.append(torch.cat([image.boxes for image in images])[::step])
        weights.append(weight / weight.sum().clamp(min=1e-12))
    boxes, weight = torch.cat(chosen), torch.cat(weights)
    sides = ((boxes[:, 2:] - boxes[:, :2]) * torch.tensor(image_size[::-1])).prod(dim=1).sqrt()
    return FitBoxes(boxes, weight / weight.sum().clamp(min=1e-12), sides)


def overlap_worth(iou: Tensor, iou_threshold: float) -> Tensor:
    """Return the worth of overlaps, 0 to 1: half of it is a step at the threshold, half a ramp around it."""
    ramp = ((iou - (iou_threshold - _RAMP)) / (2 * _RAMP)).clamp(0, 1)
    return (ramp + (iou >= iou_threshold)) / 2


def misplacement(sides: Tensor, sizes: PriorSizes) -> Tensor:
    """Return by how many octaves boxes (N,) are outside the sizes of each level, (K, N).

    A level is for sizes from its entry in MIN_SIZES to that in MAX_SIZES, the first also for all below, the last also
    for all above.
    """
    low, high = torch.tensor(sizes.min_sizes).float(), torch.tensor(sizes.max_sizes).float()
    low[low.argmin()], high[high.argmax()] = 0, torch.inf
    return (low[:, None] / sides).log2().maximum((sides / high[:, None]).log2()).clamp(min=0)


def shape_overlaps(boxes: Tensor, center_x: Tensor, center_y: Tensor, shapes: Tensor) -> Tensor:
    """Return the IoU (N, S) of boxes with the best-placed prior of each shape on a grid of centres.

    That is the prior at the nearest centre: along each axis the overlap of a box and a prior does not grow with the
    distance of their centres, and the union is the sum of the areas less the overlap.

    All are in one unit: boxes (N, 4) corner form, centres (columns,) and (rows,), width and height of shapes (S, 2).
    """
    intersection = torch.ones(len(boxes), len(shapes))
    for axis, centers in enumerate((center_x, center_y)):
        low, high, sides = boxes[:, axis, None], boxes[:, axis + 2, None], shapes[:, axis]  # (N, 1), (N, 1), (S,)
        distance = ((low + high) / 2 - centers).abs().amin(dim=1, keepdim=True)
        overlap = (high - low + sides) / 2 - distance  # (N, S)
        intersection *= overlap.minimum(high - low).minimum(sides).clamp(min=0)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)[:, None] + shapes.prod(dim=1)
    return intersection / (areas - intersection)


def size_bounds(layout: Layout, level: int) -> tuple[float, float]:
    """Return the smallest and the largest side in pixels of the squares of a level.

    They are half an octave beyond the sizes that the level is for; the level of the smallest sizes goes down to its
    stride, since no other one is for smaller objects.
    """
    min_size, max_size = layout.sizes.min_sizes[level], layout.sizes.max_sizes[level]
    low = min_size / _SLACK
    if min_size == min(layout.sizes.min_sizes):
        low = min(layout.pixel_strides[level], min_size)
    return low, max(min_size, min(max_size * _SLACK, max(layout.levels.image_size)))


class _Level:
    """Candidates of one level, and their overlaps with boxes; ``items`` are the ratios, numbers or pairs, to choose."""

    def __init__(self, layout: Layout, level: int, boxes: Tensor, items: Sequence[Any], max_ratios: int | None):
        small, large = (shape[0] for shape in layout.levels.shapes[level][:2])
        low, high = size_bounds(layout, level)
        count = math.floor(math.log2(high / low) * _STEPS_PER_OCTAVE) + 1
        steps = {float(round(low * 2 ** (n / _STEPS_PER_OCTAVE))) for n in range(count)}
        self.sizes = sorted(steps | {small, large})
        pairs = [item if isinstance(item, Sequence) else (item, 1 / item) for item in items]
        aspects = torch.tensor([1.0, *(aspect for pair in pairs for aspect in pair)])  # width over height
        sides = torch.tensor(self.sizes)[:, None]
        shapes = torch.stack([sides * aspects.sqrt(), sides / aspects.sqrt()], dim=-1)  # (M, 1 + 2 R, 2)
        shapes = shapes / torch.tensor(layout.levels.image_size[::-1])
        shapes = shapes.clamp(max=1) if layout.clips_sizes else shapes
        overlaps = shape_overlaps(boxes, *layout.centers(level), shapes.flatten(0, 1)).unflatten(1, shapes.shape[:2])
        self.squares = overlaps[:, :, 0]  # (N, M)
        self.ratios = overlaps[:, :, 1:].unflatten(2, (len(items), 2)).amax(dim=3)  # (N, M, R)
        own = tuple(items.index(item) for item in layout.sizes.aspect_ratios[level])[:max_ratios]
        self.start = _Choice(self.sizes.index(small), self.sizes.index(large), own)
        counts = [len(own)] if max_ratios is None else range(max_ratios + 1)
        others = (chosen for count in counts for chosen in combinations(range(len(items)), count))
        self.item_sets = [own, *(chosen for chosen in others if set(chosen) != set(own))]

    def overlaps(self, choice: _Choice) -> Tensor:
        """Return the best IoU (N,) of each box on this level."""
        columns = [self.squares[:, choice.small], self.squares[:, choice.large]]
        return torch.stack([*columns, *(self.ratios[:, choice.small, item] for item in choice.items)]).amax(dim=0)

    def cost(self, choice: _Choice) -> float:
        """Return the cost of the distance of a choice from the start."""
        moves = ((choice.small, self.start.small), (choice.large, self.start.large))
        octaves = sum(abs(math.log2(self.sizes[a] / self.sizes[b])) for a, b in moves)
        return _CHANGE_COST * (octaves + len(set(choice.items) ^ set(self.start.items)) / 2)

    def size_candidates(self, items: tuple[int, ...]) -> tuple[list[_Choice], Tensor]:
        """Return all pairs of sizes with given ratios, and their IoU (N, candidates)."""
        of_small = torch.stack([self.squares, *(self.ratios[:, :, item] for item in items)]).amax(dim=0)  # (N, M)
        pairs = list(combinations(range(len(self.sizes)), 2))  # the smaller one first
        small, large = torch.tensor(pairs).T
        return [_Choice(a, b, items) for a, b in pairs], of_small[:, small].maximum(self.squares[:, large])

    def item_candidates(self, small: int, large: int) -> tuple[list[_Choice], Tensor]:
        """Return all sets of ratios with given sizes, and their IoU (N, candidates)."""
        choices = [_Choice(small, large, items) for items in self.item_sets]
        return choices, torch.stack([self.overlaps(choice) for choice in choices], dim=1)


class _Fit:
    """Search for the best choice of each level, given those of the others."""

    def __init__(self, layout: Layout, boxes: FitBoxes, max_ratios: int | None):
        self.items: list[Any] = []
        for item in [*(item for ratios in layout.sizes.aspect_ratios for item in ratios), *RATIOS]:
            self.items += [] if item in self.items else [item]
        self.threshold, self.weights = layout.iou_threshold, boxes.weights
        self.misplacement = misplacement(boxes.sides, layout.sizes)  # (K, N)
        numbers = range(len(layout.levels.shapes))
        self.levels = [_Level(layout, level, boxes.boxes, self.items, max_ratios) for level in numbers]
        self.choices = [level.start for level in self.levels]
        self.overlaps = torch.stack([level.overlaps(level.start) for level in self.levels])  # (K, N)

    def improve(self, level: int) -> None:
        """Give a level the best sizes, then for each small size the best ratios."""
        self._take_best(level, *self.levels[level].size_candidates(self.choices[level].items))
        large = self.choices[level].large
        for small in range(large):
            self._take_best(level, *self.levels[level].item_candidates(small, large))

    def result(self, max_sizes: Sequence[float]) -> PriorSizes:
        """Return the chosen sizes; those that have not moved, of ``max_sizes`` too, stay exact."""
        result = PriorSizes([], [], [])
        for fit, choice, max_size in zip(self.levels, self.choices, max_sizes, strict=True):
            small, large = fit.sizes[choice.small], fit.sizes[choice.large]
            small = small if choice.small == fit.start.small else round(small, 1)  # the old large square: any number
            is_same = choice[:2] == fit.start[:2]
            result.min_sizes.append(small)
            result.max_sizes.append(max_size if is_same else round(large**2 / small, 1))
            result.aspect_ratios.append([self.items[item] for item in choice.items])
        return result

    def _take_best(self, level: int, choices: list[_Choice], overlaps: Tensor) -> None:
        """Replace the choice of a level by the best of candidates, with IoU (N, candidates), if that is better."""
        others = self.overlaps.clone()
        others[level] = -1
        elsewhere, landing = others.max(dim=0)
        choices, overlaps = [self.choices[level], *choices], torch.cat([self.overlaps[level][:, None], overlaps], dim=1)
        is_here = overlaps > elsewhere[:, None]
        misplaced = self.misplacement.gather(0, landing[None]).T.where(~is_here, self.misplacement[level][:, None])
        costs = torch.tensor([self.levels[level].cost(choice) for choice in choices])
        values = self._worth(overlaps.maximum(elsewhere[:, None]), misplaced) - costs
        winner = int(values.argmax())
        if values[winner] > values[0] + _MIN_GAIN:
            self.choices[level], self.overlaps[level] = choices[winner], overlaps[:, winner]

    def _worth(self, iou: Tensor, misplaced: Tensor) -> Tensor:
        """Return the weighted worth (candidates,) of IoU and misplacement (N, candidates)."""
        return self.weights @ (overlap_worth(iou, self.threshold) - _MISPLACEMENT_COST * misplaced)
