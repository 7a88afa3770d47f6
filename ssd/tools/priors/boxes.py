"""The boxes that a training sees: those of the resized images, and those of the augmentation's stream."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssd.data.datasets import DetectionDataset
from ssd.data.samplers import IterationSampler, PositionedGenerator
from ssd.data.samples import open_sample
from ssd.data.transforms.geometry import GeometricDraw, GeometricSteps, draw_geometry, map_boxes


class ImageBoxes(NamedTuple):
    """The objects of an image.

    Attributes:
        boxes: float32 (G, 4) corner form relative to the image.
        labels: int64 (G,).
    """

    boxes: Tensor
    labels: Tensor


def read_boxes(datasets: Sequence[DetectionDataset], seed: int, num_images: int) -> list[ImageBoxes]:
    """Return the objects of the images, stretched to the network input.

    Args:
        datasets: taken as one.
        seed: of the choice of images.
        num_images: at most so many, chosen at random.
    """
    keys = _stream(datasets, seed, num_images)
    return list(_open(datasets, keys, None, seed))


def draw_boxes(
    datasets: Sequence[DetectionDataset], steps: GeometricSteps, seed: int, num_samples: int
) -> list[ImageBoxes]:
    """Return the objects of the first samples of a training, expanded, cropped and mirrored as drawn there.

    Args:
        datasets: trained on as one.
        steps: of the augmentation, those that are taken.
        seed: SOLVER.SEED.
        num_samples: from the beginning of the stream.
    """
    keys = IterationSampler(sum(map(len, datasets)), num_samples, 1, seed=seed)
    return list(_open(datasets, next(iter(keys)), steps, seed))


def _stream(datasets: Sequence[DetectionDataset], seed: int, num_images: int) -> list[tuple[int, int]]:
    """Each image at most once, in the order of the datasets."""
    total = sum(map(len, datasets))
    return sorted(next(iter(IterationSampler(total, min(num_images, total), 1, seed=seed))))


def _open(
    datasets: Sequence[DetectionDataset], keys: Iterable[tuple[int, int]], steps: GeometricSteps | None, seed: int
) -> Iterable[ImageBoxes]:
    """The samples of keys (index, position); without steps they are only resized."""
    generator = PositionedGenerator(seed)
    for index, position in keys:
        target, (width, height), _ = open_sample(datasets, index)
        limit = np.array([width, height, width, height])
        boxes = np.clip(np.asarray(target["boxes"]).reshape(-1, 4), 0, limit)
        if steps is None:
            draw = GeometricDraw((0, 0, width, height), mirror=False)
        else:
            draw = draw_geometry(width, height, boxes, generator.at(position), steps)
        mapped, labels = map_boxes(boxes, np.asarray(target["labels"]), draw)
        yield ImageBoxes(torch.from_numpy(np.ascontiguousarray(mapped)), torch.from_numpy(labels))
