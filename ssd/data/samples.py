"""Samples as the network takes them, and how they are put together to batches.

Legend: B images, G the most objects that one of them has, S_h and S_w height and width of the network input.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from ssd.data.cache import ImageCache
from ssd.data.datasets import DetectionDataset
from ssd.data.reader import SampleReader
from ssd.data.replacement import Replacement
from ssd.data.transforms.geometry import (
    GeometricDraw,
    GeometricSteps,
    draw_geometry,
    map_boxes,
    max_reduction,
    valid_area,
    warp_image,
)
from ssd.structures import Container
from ssd.utils.errors import DatasetError, ImageError, SSDError
from ssd.utils.image import reduced_size


class TrainingSample(NamedTuple):
    """One augmented image.

    Attributes:
        image: RGB uint8 (S_h, S_w, 3); see ``warp_image``.
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


class _Plan(NamedTuple):
    """A sample without its pixels: ``TrainingSample``, what was drawn, and how to read the image."""

    key: tuple[int, int]
    is_turned: bool
    size: tuple[int, int]
    read: Callable[[int], tuple[np.ndarray, int]]
    draw: GeometricDraw
    boxes: np.ndarray
    labels: np.ndarray
    valid_area: np.ndarray


class TrainingSamples(Dataset[TrainingSample]):
    """Augmented samples, addressed by (index, position in the sample stream); the position seeds the augmentation.

    Args:
        datasets: trained on as one.
        size: (height, width) of the network input in pixels.
        seed: of the augmentation, at least 0.
        steps: of the augmentation, those to take.
        reduced_decoding: see ``SampleReader``.
        cache: likewise.
        skip_bad: an image that cannot be decoded, or has another size than annotated, is replaced; see
            ``Replacement``. False = it is an error.
    """

    def __init__(
        self,
        datasets: Sequence[DetectionDataset],
        size: tuple[int, int],
        seed: int,
        steps: GeometricSteps = GeometricSteps(),  # noqa: B008  # frozen
        *,
        reduced_decoding: bool = False,
        cache: ImageCache | None = None,
        skip_bad: bool = False,
    ):
        self._reader = SampleReader(datasets, reduced_decoding, cache)
        self._replacement = Replacement(len(self._reader), seed) if skip_bad else None
        self._size = size
        self._rng = PositionedGenerator(seed)
        self._steps = steps

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, key: tuple[int, int]) -> TrainingSample:
        return self._sample(key)

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[TrainingSample]:
        """Return the samples of a batch; DataLoader asks for them together."""
        if not self._reader.has_parts:
            return [self._sample(key) for key in keys]
        plans = [self._plan(key) for key in keys]  # decoding drives their code and data out of the processor's caches
        return [self._sample(key, plan) for key, plan in zip(keys, plans, strict=True)]

    def _sample(self, key: tuple[int, int], plan: _Plan | None = None) -> TrainingSample:
        try:
            return self._show(plan or self._plan(key))
        except (ImageError, DatasetError) as error:
            if self._replacement is None:
                raise
            return self._replace(key, self._replacement, error)

    def _replace(self, key: tuple[int, int], replacement: Replacement, error: SSDError) -> TrainingSample:
        index, position = key
        attempt = 0
        while True:  # draw ends it
            replacement.report(index, error)
            index = replacement.draw(position, attempt, error)
            try:
                return self._show(self._plan((index, position)))
            except (ImageError, DatasetError) as next_error:
                error = next_error
            attempt += 1

    def _plan(self, key: tuple[int, int], is_turned: bool = False) -> _Plan:
        index, position = key
        target, size, read = self._reader.open(index)
        width, height = size[::-1] if is_turned else size
        boxes, labels = np.asarray(target["boxes"]).reshape(-1, 4), np.asarray(target["labels"])
        limit = np.array([width, height, width, height])
        boxes = np.minimum(np.maximum(boxes, 0), limit)  # so that a crop that holds a centre shows image
        draw = draw_geometry(width, height, boxes, self._rng.at(position), self._steps)
        boxes, labels = map_boxes(boxes, labels, draw)
        area = valid_area(width, height, draw, self._size)
        return _Plan(key, is_turned, (width, height), read, draw, boxes, labels, area)

    def _show(self, plan: _Plan) -> TrainingSample:
        image, reduction = plan.read(max_reduction(plan.draw, self._size))
        found = image.shape[1], image.shape[0]
        if found == reduced_size(plan.size, reduction):
            warped = warp_image(image, plan.draw, self._size, reduction)
            return TrainingSample(warped, plan.boxes, plan.labels, plan.valid_area, plan.key[0])
        if not plan.is_turned:  # the annotation may have exchanged width and height
            return self._show(self._plan(plan.key, is_turned=True))
        raise DatasetError(
            f"image {plan.key[0]} has {found[0] * reduction} x {found[1] * reduction} pixels, "
            f"annotated as {plan.size[1]} x {plan.size[0]}"
        )


class PositionedGenerator:
    """Random numbers as a function of (seed, position): Philox counts, so that another key is another stream.

    Args:
        seed: at least 0; its last 64 bits count.
    """

    def __init__(self, seed: int):
        self._bits = np.random.Philox(key=seed % 2**64)
        self._state = self._bits.state
        self._generator = np.random.Generator(self._bits)

    def at(self, position: int) -> np.random.Generator:
        """Return the generator at the start of the stream of ``position``; it serves until the next call."""
        self._state["state"]["key"][1] = position
        self._bits.state = self._state  # several times quicker than a new generator
        return self._generator


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
    """Return images uint8 (B, 3, S_h, S_w) in channels-last memory, targets, and dataset indices int64 (B,).

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
    """Return images as in training, original sizes int64 (B, 2) height and width, and indices int64 (B,)."""
    images, sizes, ids = zip(*samples, strict=True)
    return _stack_images(images), torch.tensor(sizes), torch.tensor(ids)


def _stack_images(images: Sequence[np.ndarray]) -> Tensor:
    """Images (H, W, 3) as one tensor (B, 3, H, W), in the memory that workers and main process share."""
    return default_collate([torch.from_numpy(image) for image in images]).permute(0, 3, 1, 2)
