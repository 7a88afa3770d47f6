"""Sources of still images: one, the rows of a batch, a folder."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from ssd.inference.sources.frames import Frame, PendingFrame
from ssd.inference.sources.pixels import check_tensor, tensor_to_rgb
from ssd.utils.image import image_names, read_image


class SingleImage:
    """A source of one image.

    Args:
        name: see ``Frame``.
        read: gives RGB uint8 (H, W, 3), or raises ImageError.
        path: see ``Frame``.
    """

    num_frames = 1

    def __init__(self, name: str, read: Callable[[], np.ndarray], path: Path | None = None):
        self._name = name
        self._read = read
        self._path = path

    def __iter__(self) -> Iterator[PendingFrame]:
        yield PendingFrame(self._name, lambda: Frame(self._read(), self._name, self._path))


class TensorBatch:
    """A source of the images of a tensor.

    Args:
        tensor: (B, 3, H, W), see ``check_tensor``.
        name: what to call it.

    Raises:
        ImageError: the tensor is no batch of images.
    """

    def __init__(self, tensor: Tensor, name: str):
        check_tensor(tensor, name)
        self._tensor = tensor
        self._name = name

    @property
    def num_frames(self) -> int:
        """The size of the batch."""
        return len(self._tensor)

    def __iter__(self) -> Iterator[PendingFrame]:
        for row in range(self.num_frames):
            name = f"{self._name}[{row}]"
            yield PendingFrame(name, partial(self._read, row, name))

    def _read(self, row: int, name: str) -> Frame:
        return Frame(tensor_to_rgb(self._tensor[row], name), name, index=row)


class ImageFolder:
    """A source of the images directly inside a folder, sorted by name. Only the names are kept.

    Args:
        folder: its path.

    Raises:
        ImageError: see ``image_names``.
    """

    def __init__(self, folder: str):
        self._folder = folder
        self._names = image_names(folder)

    @property
    def num_frames(self) -> int:
        """The number of images."""
        return len(self._names)

    def __iter__(self) -> Iterator[PendingFrame]:
        for index, name in enumerate(self._names):
            path = os.path.join(self._folder, name)
            yield PendingFrame(path, partial(_read_file, path, index))


def _read_file(path: str, index: int) -> Frame:
    return Frame(read_image(path), path, Path(path), index)
