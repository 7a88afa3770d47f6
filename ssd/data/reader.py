"""Reading annotations first and images after, so that a draw can say how much of an image is worth decoding."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np

from ssd.data.cache import ImageCache
from ssd.data.datasets import DetectionDataset
from ssd.structures import Container
from ssd.utils.errors import DatasetError


@runtime_checkable
class TwoPartDataset(Protocol):
    """What a dataset needs beside ``__getitem__`` for its images to be decoded reduced, or cached."""

    def get_img_info(self, index: int) -> dict[str, Any]:
        """Return at least ``height`` and ``width`` in pixels."""

    def get_target(self, index: int) -> Container:
        """Return the objects to train on, as ``__getitem__`` does."""

    def read_image(self, index: int, reduction: int = 1) -> tuple[np.ndarray, int]:
        """Return the image of ``__getitem__``, see ``read_reduced_image``."""


class OpenSample(NamedTuple):
    """An annotation whose image is still to be read.

    Attributes:
        target: boxes (G, 4) corner form in pixels, labels (G,).
        size: (width, height) of the image in pixels; of an image that is annotated turned, (height, width).
        read: given the largest reduction that will do, returns the image, RGB uint8, and the reduction it has.
    """

    target: Container
    size: tuple[int, int]
    read: Callable[[int], tuple[np.ndarray, int]]


class SampleReader:
    """The samples of several datasets, taken as one.

    Args:
        datasets: in their order.
        reduced_decoding: decode images at a fraction of their size where that will do.
        cache: keeps the images that it has room for; they are decoded in full.
    """

    def __init__(
        self, datasets: Sequence[DetectionDataset], reduced_decoding: bool = False, cache: ImageCache | None = None
    ):
        self._datasets = datasets
        self._has_parts = [isinstance(dataset, TwoPartDataset) for dataset in datasets]  # slow to ask
        self._ends = ends_of(datasets)
        self._reduced_decoding = reduced_decoding
        self._cache = cache

    def __len__(self) -> int:
        return self._ends[-1]

    @property
    def has_parts(self) -> bool:
        """Whether all datasets give annotation and image apart."""
        return all(self._has_parts)

    def open(self, index: int) -> OpenSample:
        """Return the annotation of a sample, and how to read its image."""
        number, row = locate_sample(self._ends, index)
        dataset = self._datasets[number]
        if not self._has_parts[number]:
            image, target, _ = dataset[row]
            return OpenSample(target, (image.shape[1], image.shape[0]), lambda _: (image, 1))
        parts, info = cast(TwoPartDataset, dataset), dataset.get_img_info(row)
        read = partial(self._read, parts, row, index)
        return OpenSample(parts.get_target(row), (info["width"], info["height"]), read)

    def _read(self, dataset: TwoPartDataset, row: int, index: int, reduction: int) -> tuple[np.ndarray, int]:
        if self._cache is not None and self._cache.has_room_for(index):
            image = self._cache.get(index)
            if image is None:
                image, _ = dataset.read_image(row)
                self._cache.put(index, image)
            return image, 1
        return dataset.read_image(row, reduction if self._reduced_decoding else 1)


def ends_of(datasets: Sequence[DetectionDataset]) -> list[int]:
    """Return the index at which each of several datasets, taken as one, ends."""
    return list(accumulate(len(dataset) for dataset in datasets))


def locate_sample(ends: Sequence[int], index: int) -> tuple[int, int]:
    """Return the number of the dataset that has a sample, and its row there; ``ends`` as ``ends_of`` gives them."""
    number = bisect_right(ends, index)
    return number, index - (ends[number - 1] if number else 0)


def make_cache(datasets: Sequence[DetectionDataset], limit: int, folder: Path | None = None) -> ImageCache:
    """Build a cache for the images of ``datasets``, taken as one; see ``ImageCache``.

    Raises:
        DatasetError: a dataset does not give annotation and image apart.
        ConfigError: the space is not there.
    """
    for dataset in datasets:
        if not isinstance(dataset, TwoPartDataset):
            raise DatasetError(
                f"images of {type(dataset).__name__} cannot be cached: it has no get_target and read_image; "
                "add them (see ssd.data.reader.TwoPartDataset), or set DATA_LOADER.CACHE off"
            )
    infos = (dataset.get_img_info(row) for dataset in datasets for row in range(len(dataset)))
    return ImageCache(np.array([(info["width"], info["height"]) for info in infos], dtype=np.int64), limit, folder)
