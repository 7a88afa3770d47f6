"""Decoded images, kept in memory or in a scratch file that all worker processes share."""

import logging
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssd.utils.errors import ConfigError

logger = logging.getLogger(__name__)

GIGABYTE = 10**9
_SHARED_MEMORY = Path("/dev/shm")  # where Linux keeps it


class ImageCache:
    """Pixels of the first images of a dataset, as many as the limit has room for; each has its place from the start.

    It lives as long as this process: what one run cached, the next decodes again, and no change of a file goes unseen.

    Args:
        sizes: (width, height) of all images in pixels, (images, 2).
        limit: bytes that the cache may take.
        folder: gets the scratch file; None = in memory.

    Raises:
        ConfigError: the space is not there.
    """

    def __init__(self, sizes: np.ndarray, limit: int, folder: Path | None = None):
        ends = np.cumsum(sizes.prod(axis=1) * 3)
        self._count = int(np.searchsorted(ends, limit, side="right"))
        self._offsets = np.concatenate([[0], ends[: self._count]])
        self._sizes = sizes[: self._count]
        self._is_filled = torch.zeros(self._count, dtype=torch.bool).share_memory_()
        self._path = _make_scratch_file(folder, self.num_bytes) if folder else None
        if not self._path:
            _check_shared_memory(self.num_bytes)
        self._pixels = self._map_pixels()
        if self._path:
            weakref.finalize(self, _remove, self._path, os.getpid())
        place = f"in {self._path}" if self._path else "in memory"
        logger.info("Cache %s: %d of %d images, %.1f GB", place, len(self), len(sizes), self.num_bytes / GIGABYTE)

    def __len__(self) -> int:
        return self._count

    @property
    def num_bytes(self) -> int:
        """What the cache takes when it is full."""
        return int(self._offsets[-1])

    def has_room_for(self, index: int) -> bool:
        """Whether the image has a place."""
        return index < self._count

    def get(self, index: int) -> np.ndarray | None:
        """Return the image, RGB uint8 (H, W, 3), not to be written to; None before it was put."""
        if not self._is_filled[index]:
            return None
        image = self._place(index)
        image.flags.writeable = False
        return image

    def put(self, index: int, image: np.ndarray) -> None:
        """Keep an image, unless it has another size than its annotation says."""
        place = self._place(index)
        if place.shape == image.shape:
            place[:] = image
            self._is_filled[index] = True

    def _place(self, index: int) -> np.ndarray:
        width, height = self._sizes[index].tolist()
        return self._pixels[self._offsets[index] : self._offsets[index + 1]].numpy().reshape(height, width, 3)

    def _map_pixels(self) -> torch.Tensor:
        if not self._path or not self.num_bytes:
            return torch.empty(self.num_bytes, dtype=torch.uint8).share_memory_()
        return torch.from_file(str(self._path), shared=True, size=self.num_bytes, dtype=torch.uint8)

    def __getstate__(self) -> dict[str, Any]:  # workers that are not forked get the cache as a message
        return {**self.__dict__, **({"_pixels": None} if self._path else {})}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._path:
            self._pixels = self._map_pixels()


def _check_shared_memory(num_bytes: int) -> None:
    """To write more than there is would end a worker without a word."""
    if _SHARED_MEMORY.is_dir() and (free := shutil.disk_usage(_SHARED_MEMORY).free) < num_bytes:
        raise ConfigError(
            f"DATA_LOADER.CACHE memory: the images take {num_bytes / GIGABYTE:.2f} GB and {_SHARED_MEMORY} has "
            f"{free / GIGABYTE:.2f} GB left; lower DATA_LOADER.CACHE_GB, or set DATA_LOADER.CACHE disk"
        )


def _make_scratch_file(folder: Path, num_bytes: int) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix="ssd_cache_", dir=folder)
    except OSError as error:
        raise ConfigError(f"DATA_LOADER.CACHE_DIR {folder}: {error.strerror}; name a folder to write to") from error
    try:
        os.truncate(descriptor, num_bytes)
        if num_bytes and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, num_bytes)  # now, or a full disk would end a worker without a word
    except OSError as error:
        os.unlink(name)
        raise ConfigError(
            f"DATA_LOADER.CACHE disk: the images take {num_bytes / GIGABYTE:.2f} GB, and {folder} says: "
            f"{error.strerror}; lower DATA_LOADER.CACHE_GB or choose another DATA_LOADER.CACHE_DIR"
        ) from error
    finally:
        os.close(descriptor)
    return Path(name)


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not a worker, which has a copy
        path.unlink(missing_ok=True)
