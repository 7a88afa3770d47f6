"""Images that show the same: copies in another size, format or quality, neighbouring frames of a video.

Legend: N images.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ssd.tools.data.threads import map_rows
from ssd.utils.machine import available_cores

# A difference hash: whether each of 8 x 8 cells is brighter than its right neighbour (N. Krawetz, "Kind of Like That",
# hackerfactor.com, 2013). Measured on 364 blood smears (BCCD) and 125 photographs (of COCO): copies of half the
# size, as JPEG of quality 30, or brighter by 10, differ in at most 5 bits and 10.5 of 255; different images in at least
# 10 bits, but for two smears of one place (2 bits, 2.2 of 255).
_CELLS = 8
_MAX_BITS = 6
# Hashes of plain images agree by chance, so the pixels of a small version must too: mean difference, of 255.
_SIDE = 16
_MAX_DIFFERENCE = 12.0
_BLOCK = 1024  # rows compared with all others at a time


@dataclass(frozen=True)
class Look:
    """What an image looks like.

    Attributes:
        bits: bool (64,), its difference hash.
        thumbnail: uint8 (256,), small and grey.
    """

    bits: np.ndarray
    thumbnail: np.ndarray


def look_of(image: np.ndarray) -> Look:
    """Return the look of an RGB uint8 image (H, W, 3)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    cells = cv2.resize(grey, (_CELLS + 1, _CELLS), interpolation=cv2.INTER_AREA)
    thumbnail = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return Look((cells[:, :-1] > cells[:, 1:]).ravel(), thumbnail.ravel())


def look_at_all(read: Callable[[int], np.ndarray], num_images: int) -> Iterator[Look]:
    """Return the looks of images in their order, by all cores; ``read`` gives the image of a row."""
    return map_rows(lambda row: look_of(read(row)), num_images, available_cores())


def group_looks(looks: Sequence[Look]) -> np.ndarray:
    """Return the group of each image, int64 (N,): the first row that it is like, directly or over others."""
    signs = np.array([look.bits for look in looks], dtype=np.float32).reshape(-1, _CELLS**2) * 2 - 1
    thumbnails = np.array([look.thumbnail for look in looks], dtype=np.int16).reshape(-1, _SIDE**2)
    groups = np.arange(len(looks))
    for start in range(0, len(looks), _BLOCK):
        bits = (_CELLS**2 - signs[start : start + _BLOCK] @ signs.T) / 2  # that differ; exact in float32
        is_candidate = bits <= _MAX_BITS
        for row in np.flatnonzero(is_candidate.sum(axis=1) > 1):  # each is like itself
            others = np.flatnonzero(is_candidate[row] & (groups != groups[start + row]))
            differences = np.abs(thumbnails[others] - thumbnails[start + row]).mean(axis=1)
            joined = np.unique(groups[[start + row, *others[differences <= _MAX_DIFFERENCE]]])
            if len(joined) > 1:
                groups[np.isin(groups, joined)] = joined[0]
    return groups
