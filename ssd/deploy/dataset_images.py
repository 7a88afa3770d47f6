"""Images of datasets, of a folder or of a pattern: those that an exported detector is checked and quantised with."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from ssd.data.datasets import DetectionDataset
from ssd.inference.sources import Frame, PendingFrame, Source
from ssd.utils.errors import ImageError


class DatasetImages:
    """A source of the images of datasets, without their annotations.

    Args:
        names: of the datasets.
        datasets: likewise.
    """

    def __init__(self, names: Sequence[str], datasets: Sequence[DetectionDataset]):
        self._datasets = dict(zip(names, datasets, strict=True))

    @property
    def num_frames(self) -> int:
        """The number of images."""
        return sum(map(len, self._datasets.values()))

    def __iter__(self) -> Iterator[PendingFrame]:
        for name, dataset in self._datasets.items():
            for index in range(len(dataset)):
                frame_name = f"{name}, image {index}"
                yield PendingFrame(frame_name, partial(_read, dataset, index, frame_name))


class ReadImages:
    """A source of images that are decoded already.

    Args:
        frames: the images.
    """

    def __init__(self, frames: Sequence[Frame]):
        self._frames = frames

    @property
    def num_frames(self) -> int:
        """The number of images."""
        return len(self._frames)

    def __iter__(self) -> Iterator[PendingFrame]:
        for frame in self._frames:
            yield PendingFrame(frame.name, partial(_same, frame))


def _same(frame: Frame) -> Frame:
    return frame


def _read(dataset: DetectionDataset, index: int, name: str) -> Frame:
    return Frame(dataset[index][0], name, index=index)


def first_images(source: Source, count: int) -> list[Frame]:
    """Read so many images from the start of a source, or all if it has fewer.

    Raises:
        ImageError: one cannot be read.
    """
    return [pending.read() for pending, _ in zip(source, range(count), strict=False)]


def choose_images(source: Source, count: int, seed: int) -> Iterator[np.ndarray]:
    """Read so many images from anywhere in a source, one by one; all of them if it has fewer.

    Args:
        source: whose number of images is known.
        count: of images to take.
        seed: of the choice.

    Raises:
        ImageError: one cannot be read, or the source does not know how many it has.
    """
    if source.num_frames is None:
        raise ImageError("images to measure ranges on must be a folder, or a pattern of image files")
    rng = np.random.default_rng(seed)
    chosen = set(rng.choice(source.num_frames, min(count, source.num_frames), replace=False).tolist())
    return (pending.read().image for index, pending in enumerate(source) if index in chosen)
