"""Samples as the network takes them, and how they are put together to batches.

Legend: B images, G the most objects that one of them has, S_h and S_w height and width of the network input.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from ssd.data.datasets import DetectionDataset
from ssd.data.transforms.geometry import GeometricSteps, draw_geometry, map_boxes, valid_area, warp_image
from ssd.structures import Container


class TrainingSample(NamedTuple):
    """One augmented image.

    Attributes:
        image: RGB uint8 (S_h, S_w, 3); outside of ``valid_area`` it repeats its edge.
        boxes: float32 (G, 4) corner form, relative to the image.
        labels: int64 (G,).
        valid_area: float32 (4,) corner form in pixels, the part that shows image.
        sample_id: its index in the concatenated datasets.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    valid_area: np.ndarray
    sample_id: int


class TrainingSamples(Dataset[TrainingSample]):
    """Augmented samples, addressed by (index, position in the sample stream); the position seeds the augmentation.

    Args:
        datasets: trained on as one.
        size: (height, width) of the network input in pixels.
        seed: of the augmentation, at least 0.
        steps: of the augmentation, those to take.
    """

    def __init__(
        self,
        datasets: Sequence[DetectionDataset],
        size: tuple[int, int],
        seed: int,
        steps: GeometricSteps = GeometricSteps(),  # noqa: B008  # frozen
    ):
        self._samples: ConcatDataset = ConcatDataset(datasets)  # type: ignore[arg-type]  # any map-style dataset serves
        self._size = size
        self._seed = seed
        self._steps = steps

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, key: tuple[int, int]) -> TrainingSample:
        index, position = key
        image, annotation, _ = self._samples[index]
        boxes, labels = np.asarray(annotation["boxes"]).reshape(-1, 4), np.asarray(annotation["labels"])
        height, width = image.shape[:2]
        boxes = np.clip(boxes, 0, (width, height, width, height))  # so that a crop that holds a centre shows image
        draw = draw_geometry(width, height, boxes, np.random.default_rng((self._seed, position)), self._steps)
        boxes, labels = map_boxes(boxes, labels, draw)
        area = valid_area(width, height, draw, self._size)
        return TrainingSample(warp_image(image, draw, self._size), boxes, labels, area, index)


class ResizedSamples(Dataset[tuple[np.ndarray, tuple[int, int], int]]):
    """Resized images with their original (height, width) and index.

    Args:
        dataset: the images; kept as an attribute.
        size: (height, width) of the network input in pixels.
    """

    def __init__(self, dataset: DetectionDataset, size: tuple[int, int]):
        self.dataset = dataset
        self._size = size

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[np.ndarray, tuple[int, int], int]:
        image = self.dataset[index][0]
        return resize_image(image, self._size), image.shape[:2], index


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Stretch an image to the network input as in testing: bilinearly, its aspect ratio is not kept.

    Args:
        image: RGB uint8 (H, W, 3).
        size: (height, width) of the result in pixels.

    Returns:
        RGB uint8 (height, width, 3).
    """
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def collate_training(samples: Sequence[TrainingSample]) -> tuple[Tensor, Container, Tensor]:
    """Return images uint8 (B, 3, S_h, S_w), targets, and dataset indices int64 (B,).

    ``targets`` has boxes float32 (B, G, 4) corner form relative to the image, labels int64 (B, G), both padded with
    0, and valid_area float32 (B, 4) corner form in pixels.
    """
    most = max(len(sample.labels) for sample in samples)
    boxes = torch.zeros(len(samples), most, 4)
    labels = torch.zeros(len(samples), most, dtype=torch.int64)
    for row, sample in enumerate(samples):
        boxes[row, : len(sample.boxes)] = torch.from_numpy(sample.boxes)
        labels[row, : len(sample.labels)] = torch.from_numpy(sample.labels)
    area = torch.from_numpy(np.stack([sample.valid_area for sample in samples]))
    ids = torch.tensor([sample.sample_id for sample in samples])
    images = _stack_images([sample.image for sample in samples])
    return images, Container(boxes=boxes, labels=labels, valid_area=area), ids


def collate_test(samples: Sequence[tuple[np.ndarray, tuple[int, int], int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return images uint8 (B, 3, S_h, S_w), original sizes int64 (B, 2) height and width, and indices int64 (B,)."""
    images, sizes, ids = zip(*samples, strict=True)
    return _stack_images(images), torch.tensor(sizes), torch.tensor(ids)


def _stack_images(images: Sequence[np.ndarray]) -> Tensor:
    return torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in images])
