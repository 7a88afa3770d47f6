"""Coverage of the training boxes by priors, as training matches them.

G objects of an image, N objects of all images, P priors.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssd.data.datasets import DetectionDataset
from ssd.data.samplers import IterationSampler, rng_at
from ssd.data.samples import open_sample
from ssd.data.transforms.geometry import GeometricDraw, GeometricSteps, draw_geometry, map_boxes
from ssd.modeling.anchors import match_priors
from ssd.structures.boxes import center_to_corner, pairwise_iou
from ssd.tools.priors.layout import Layout

_SIZE_EDGES = (8, 16, 32, 64, 128, 256)  # square root of the area, pixels of the network input
_SIZE_NAMES = ("below 8", "8 to 16", "16 to 32", "32 to 64", "64 to 128", "128 to 256", "from 256")
_ASPECT_EDGES = (1 / 3, 1 / 2, 1 / math.sqrt(2), math.sqrt(2), 2, 3)  # width over height
_ASPECT_NAMES = ("below 1:3", "1:3 to 1:2", "1:2 to 1:1.4", "near 1:1", "1.4:1 to 2:1", "2:1 to 3:1", "from 3:1")


class ImageBoxes(NamedTuple):
    """Objects of an image."""

    boxes: Tensor  # float32 (G, 4) corner form relative to the image
    labels: Tensor  # int64 (G,)


def read_boxes(datasets: Sequence[DetectionDataset], seed: int, num_images: int) -> list[ImageBoxes]:
    """Return the objects of up to ``num_images`` random images, stretched to the network input."""
    total = sum(map(len, datasets))
    keys = sorted(next(iter(IterationSampler(total, min(num_images, total), 1, seed=seed))))
    return list(_open(datasets, keys, None, seed))


def draw_boxes(
    datasets: Sequence[DetectionDataset], steps: GeometricSteps, seed: int, num_samples: int
) -> list[ImageBoxes]:
    """Return the objects of the first samples of a training with a seed, expanded, cropped and mirrored."""
    keys = next(iter(IterationSampler(sum(map(len, datasets)), num_samples, 1, seed=seed)))
    return list(_open(datasets, keys, steps, seed))


def _open(
    datasets: Sequence[DetectionDataset], keys: Iterable[tuple[int, int]], steps: GeometricSteps | None, seed: int
) -> Iterable[ImageBoxes]:
    """Yield the objects of samples (index, position); without steps they are only resized."""
    for index, position in keys:
        target, (width, height), _ = open_sample(datasets, index)
        boxes = np.clip(np.asarray(target["boxes"]).reshape(-1, 4), 0, [width, height, width, height])
        draw = GeometricDraw((0, 0, width, height), mirror=False)
        if steps is not None:
            draw = draw_geometry(width, height, boxes, rng_at(seed, position), steps)
        mapped, labels = map_boxes(boxes, np.asarray(target["labels"]), draw)
        yield ImageBoxes(torch.from_numpy(np.ascontiguousarray(mapped)), torch.from_numpy(labels))


@dataclass(frozen=True)
class Coverage:
    """Matches of objects."""

    num_images: int
    iou_threshold: float
    sizes: Tensor  # (N, 2) width and height in pixels of the network input
    labels: Tensor  # (N,) int64
    best_iou: Tensor  # (N,) IoU with the best prior
    best_level: Tensor  # (N,) int64, level of that prior, from 0
    num_positives: Tensor  # (N,) int64, priors that are matched to the object
    is_forced: Tensor  # (N,) bool, no prior that is matched to the object reaches the threshold
    level_positives: list[int]  # number of matched priors of each level

    @property
    def is_covered(self) -> Tensor:
        """(N,) bool, the IoU with some prior is the threshold or more."""
        return self.best_iou >= self.iou_threshold

    @property
    def sides(self) -> Tensor:
        """(N,) square roots of the areas in pixels."""
        return self.sizes.prod(dim=1).sqrt()


def measure(images: Sequence[ImageBoxes], layout: Layout) -> Coverage:
    """Match the objects of images, one or more, to the priors of a layout as training does."""
    priors, threshold = center_to_corner(layout.priors), layout.iou_threshold
    positives = torch.zeros(len(priors), dtype=torch.int64)
    columns = []
    for boxes, gt_labels in images:
        num_gts = len(gt_labels)
        if num_gts == 0:
            continue
        labels, gt_index = (column[0] for column in match_priors(boxes[None], gt_labels[None], priors, threshold))
        iou = pairwise_iou(boxes, priors)  # (G, P)
        matched = labels.nonzero().squeeze(1)
        owner = gt_index[matched]
        num_reached = owner[iou[owner, matched] >= threshold].bincount(minlength=num_gts)
        columns.append((*iou.max(dim=1), owner.bincount(minlength=num_gts), num_reached == 0))
        positives[matched] += 1
    best_iou, best_prior, num_positives, is_forced = (torch.cat(parts) for parts in zip(*columns, strict=True))
    all_boxes = torch.cat([image.boxes for image in images])
    height, width = layout.levels.image_size
    return Coverage(
        num_images=len(images),
        iou_threshold=threshold,
        sizes=(all_boxes[:, 2:] - all_boxes[:, :2]) * torch.tensor([width, height]),
        labels=torch.cat([image.labels for image in images]),
        best_iou=best_iou,
        best_level=torch.bucketize(best_prior, torch.tensor(layout.level_sizes).cumsum(0), right=True),
        num_positives=num_positives,
        is_forced=is_forced,
        level_positives=[int(part.sum()) for part in positives.split(layout.level_sizes)],
    )


@dataclass(frozen=True)
class Group:
    """Coverage of objects of a kind, one or more."""

    name: str
    num_objects: int
    recall: float  # share of the objects that some prior overlaps by the threshold
    median_iou: float  # with the best prior
    median_side: float  # square root of the area, in pixels of the network input
    num_forced: int  # objects with the forced match only
    positives: float  # mean number of priors that are matched to an object


@dataclass(frozen=True)
class Part:
    """Coverage of one set of boxes, in groups that have objects; classes by ascending recall."""

    num_images: int
    total: Group
    by_size: list[Group]
    by_aspect: list[Group]
    by_class: list[Group]


def make_part(coverage: Coverage, class_names: Sequence[str]) -> Part:
    """Group a coverage of one or more objects."""
    total = _group(coverage, torch.zeros_like(coverage.labels), ["all"])
    by_size = _group(coverage, torch.bucketize(coverage.sides, torch.tensor(_SIZE_EDGES), right=True), _SIZE_NAMES)
    aspects = coverage.sizes[:, 0] / coverage.sizes[:, 1]
    by_aspect = _group(coverage, torch.bucketize(aspects, torch.tensor(_ASPECT_EDGES), right=True), _ASPECT_NAMES)
    by_class = _group(coverage, coverage.labels, class_names)
    by_class.sort(key=lambda group: (group.recall, -group.num_objects))
    return Part(coverage.num_images, total[0], by_size, by_aspect, by_class)


def _group(coverage: Coverage, kinds: Tensor, names: Sequence[str]) -> list[Group]:
    """Return a group for each kind; ``kinds`` (N,) are indices of names."""
    members = [(names[kind], kinds == kind) for kind in kinds.unique().tolist()]
    return [
        Group(
            name=name,
            num_objects=int(is_member.sum()),
            recall=coverage.is_covered[is_member].float().mean().item(),
            median_iou=coverage.best_iou[is_member].median().item(),
            median_side=coverage.sides[is_member].median().item(),
            num_forced=int(coverage.is_forced[is_member].sum()),
            positives=coverage.num_positives[is_member].float().mean().item(),
        )
        for name, is_member in members
    ]
