"""Objects in groups, by size, shape and class, and what each group gets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssd.tools.priors.measure import Coverage

_SIZE_EDGES = (8, 16, 32, 64, 128, 256)  # square root of the area, pixels of the network input
_SIZE_NAMES = ("below 8", "8 to 16", "16 to 32", "32 to 64", "64 to 128", "128 to 256", "from 256")
_ASPECT_EDGES = (1 / 3, 1 / 2, 1 / math.sqrt(2), math.sqrt(2), 2, 3)  # width over height
_ASPECT_NAMES = ("below 1:3", "1:3 to 1:2", "1:2 to 1:1.4", "near 1:1", "1.4:1 to 2:1", "2:1 to 3:1", "from 3:1")


@dataclass(frozen=True)
class Group:
    """Objects of a kind.

    Attributes:
        name: of the kind.
        num_objects: at least 1.
        recall: the share that some prior overlaps by the threshold.
        median_iou: with the best prior.
        median_side: square root of the area, pixels of the network input.
        num_forced: objects that only the forced match saves.
        positives: priors matched to an object, on average.
    """

    name: str
    num_objects: int
    recall: float
    median_iou: float
    median_side: float
    num_forced: int
    positives: float


def group_all(coverage: Coverage) -> Group:
    """Return all objects as one group; there must be one at least."""
    return _group("all", coverage, torch.ones_like(coverage.is_forced))


def group_by_size(coverage: Coverage) -> list[Group]:
    """Return the groups of octaves of size that have objects, smallest first."""
    return _binned(coverage, coverage.sides, _SIZE_EDGES, _SIZE_NAMES)


def group_by_aspect(coverage: Coverage) -> list[Group]:
    """Return the groups of aspect ratios that have objects, most upright first."""
    return _binned(coverage, coverage.aspect_ratios, _ASPECT_EDGES, _ASPECT_NAMES)


def group_by_class(coverage: Coverage, class_names: Sequence[str]) -> list[Group]:
    """Return the classes that have objects, least recall first; ``class_names`` begin with background."""
    labels = coverage.labels.unique().tolist()
    groups = [_group(class_names[label], coverage, coverage.labels == label) for label in labels]
    return sorted(groups, key=lambda group: (group.recall, -group.num_objects))


def _binned(coverage: Coverage, values: Tensor, edges: Sequence[float], names: Sequence[str]) -> list[Group]:
    bins = torch.bucketize(values, torch.tensor(edges), right=True)
    return [_group(names[number], coverage, bins == number) for number in bins.unique().tolist()]


def _group(name: str, coverage: Coverage, is_member: Tensor) -> Group:
    return Group(
        name=name,
        num_objects=int(is_member.sum()),
        recall=coverage.is_reached[is_member].float().mean().item(),
        median_iou=coverage.best_iou[is_member].median().item(),
        median_side=coverage.sides[is_member].median().item(),
        num_forced=int(coverage.is_forced[is_member].sum()),
        positives=coverage.num_positives[is_member].float().mean().item(),
    )
