"""Samples as the network takes them, and batches of them.

Legend: B images, G largest number of objects of an image, S_h and S_w height and width of the network input.
"""

import logging
import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from ssd.data.datasets import ArrayDataset, DetectionDataset
from ssd.data.samplers import locate_sample, rng_at
from ssd.data.transforms.geometry import GeometricSteps, draw_geometry, map_boxes, max_reduction, valid_area, warp_image
from ssd.structures import Container
from ssd.utils.errors import DatasetError, ImageError
from ssd.utils.image import reduced_size

logger = logging.getLogger(__name__)

_MAX_DRAWS = 100  # damaged replacements in a row after which all samples are taken to be damaged


class OpenSample(NamedTuple):
    """Annotation of an image."""

    target: Container  # boxes (G, 4) corner form in pixels, labels (G,)
    size: tuple[int, int]  # annotated width and height in pixels
    image: np.ndarray | None  # RGB uint8 (H, W, 3); None = still to be read


def open_sample(datasets: Sequence[DetectionDataset], index: int) -> OpenSample:
    """Return the annotation of a sample of the concatenated datasets, with its image where that is not separate."""
    number, row = locate_sample(datasets, index)
    dataset = datasets[number]
    if isinstance(dataset, ArrayDataset):
        info = dataset.get_img_info(row)
        return OpenSample(dataset.get_target(row), (info["width"], info["height"]), None)
    image, target, _ = dataset[row]
    return OpenSample(target, (image.shape[1], image.shape[0]), image)


class TrainingSample(NamedTuple):
    """One augmented image."""

    image: np.ndarray  # RGB uint8 (S_h, S_w, 3); see ``warp_image``
    boxes: np.ndarray  # float32 (G, 4) corner form, relative to the image
    labels: np.ndarray  # int64 (G,)
    valid_area: np.ndarray  # float32 (4,) corner form in pixels, the part that is not the border of an expansion
    sample_id: int  # index in the concatenated datasets


class TrainingSamples(Dataset[TrainingSample]):
    """Augmented samples of concatenated datasets, addressed by (index, position); the position seeds the augmentation.

    From ``close_position`` on, images are mirrored, and not expanded, cropped or jittered. ``reduced_decoding`` decodes
    images at a fraction of their size where that is enough. ``skip_bad`` replaces an image that is damaged or has
    another size than annotated; else it is an error.
    """

    def __init__(
        self,
        datasets: Sequence[DetectionDataset],
        size: tuple[int, int],
        seed: int,
        steps: GeometricSteps = GeometricSteps(),  # noqa: B008  # frozen
        *,
        close_position: int | None = None,
        reduced_decoding: bool = False,
        skip_bad: bool = False,
    ):
        self._datasets = datasets
        self._reduced_decoding = reduced_decoding
        self._skip_bad = skip_bad
        self._is_damaged = torch.zeros(len(self), dtype=torch.bool).share_memory_()  # by all workers
        self._size = size
        self._seed = seed
        self._steps = steps
        self._last_steps = GeometricSteps(expand=False, crop=False, mirror=steps.mirror)
        self._close_position = math.inf if close_position is None else close_position

    def __len__(self) -> int:
        return sum(map(len, self._datasets))

    def __getitem__(self, key: tuple[int, int]) -> TrainingSample:
        index, position = key
        attempt = 0
        while True:
            try:
                return self._augment(index, position)
            except (ImageError, DatasetError) as error:
                if not self._skip_bad or attempt == _MAX_DRAWS:
                    raise
                if not self._is_damaged[index]:
                    self._is_damaged[index] = True
                    logger.warning("Damaged sample, replaced by another one: %s", error)
                index = int(np.random.default_rng((self._seed, position, attempt)).integers(len(self)))
            attempt += 1

    def _augment(self, index: int, position: int, *, is_turned: bool = False) -> TrainingSample:
        """Draw the geometry of a sample, and apply it; ``is_turned`` exchanges the annotated sides."""
        target, size, image = open_sample(self._datasets, index)
        width, height = size[::-1] if is_turned else size
        boxes, labels = np.asarray(target["boxes"]).reshape(-1, 4), np.asarray(target["labels"])
        limit = np.array([width, height, width, height])
        if is_turned and (boxes >= limit + 1).any():
            problem = "has its sides exchanged, and a box that leaves it, so the boxes are not of this image"
            raise DatasetError(f"image {index}, annotated as {height} x {width} pixels, {problem}")
        boxes = np.minimum(np.maximum(boxes, 0), limit)  # so that a crop that holds a centre shows image
        steps = self._steps if position < self._close_position else self._last_steps
        draw, reduction = draw_geometry(width, height, boxes, rng_at(self._seed, position), steps), 1
        if image is None:
            number, row = locate_sample(self._datasets, index)
            reduction = max_reduction(draw, self._size) if self._reduced_decoding else 1
            image, reduction = cast(ArrayDataset, self._datasets[number]).read_image(row, reduction)
        found = image.shape[1], image.shape[0]
        if found == reduced_size((width, height), reduction):
            area = valid_area(width, height, draw, self._size)
            warped = warp_image(image, draw, self._size, reduction)
            return TrainingSample(warped, *map_boxes(boxes, labels, draw), area, index)
        if not is_turned:  # the annotation may have exchanged width and height
            return self._augment(index, position, is_turned=True)
        raise DatasetError(
            f"image {index} has {found[0] * reduction} x {found[1] * reduction} pixels, annotated as {height} x {width}"
        )


class ResizedSamples(Dataset[tuple[np.ndarray, tuple[int, int], int]]):
    """Images resized to ``size`` (height, width), with their original (height, width) and index."""

    def __init__(self, dataset: DetectionDataset, size: tuple[int, int]):
        self.dataset = dataset
        self._size = size

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[np.ndarray, tuple[int, int], int]:
        image = self.dataset[index][0]
        return resize_image(image, self._size), image.shape[:2], index


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an RGB uint8 image (H, W, 3) to ``size`` (height, width), bilinearly; the aspect ratio is not kept."""
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def collate_training(samples: Sequence[TrainingSample]) -> tuple[Tensor, Container, Tensor]:
    """Return images uint8 (B, 3, S_h, S_w) in channels-last memory, targets, and sample ids int64 (B,).

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
    """Stack images (H, W, 3) to (B, 3, H, W), in the memory that workers and main process share."""
    return default_collate([torch.from_numpy(image) for image in images]).permute(0, 3, 1, 2)
