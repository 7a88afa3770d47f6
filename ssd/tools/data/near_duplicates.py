"""Versions of one photograph: near duplicates by their pixels, and copies of an export by their names.

Near duplicates are copies in another size, format, quality or brightness, also turned or mirrored, and neighbouring
frames of a video. Legend: N, M images, S side of a thumbnail.
"""

import re
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

_SIDE = 12
NUM_BITS = 2 * _SIDE * (_SIDE - 1)
# A difference hash: whether each of 12 x 12 cells is brighter than its right and its lower neighbour (after N. Krawetz,
# "Kind of Like That", hackerfactor.com, 2013), in the best of the eight orientations of a square. Measured on 364 blood
# smears (BCCD), 848 photographs of masks and 125 of COCO: copies of half the size, as JPEG of quality 30, brighter or
# darker by a quarter, blurred, noisy or turned differ in at most 33 bits (but for 2 %, which are half white); images
# that show the same from slightly elsewhere in 9 to 47, others in at least 62.
MAX_BITS = 40
# Hashes of images that are plain but for a small object agree by chance, so gradients must agree too: their correlation
# is .94 or more for copies of these, .74 for views from slightly elsewhere, at most .62 for others.
_MIN_CORRELATION = 0.8
# Length of the gradient below which an image is plain: 2.5 grey levels in the mean; those of the photographs have 7.
_PLAIN = 2.5 * NUM_BITS**0.5
_BLOCK = 1024  # images compared with all others at a time
_EXPORTED = re.compile(r"(.+)\.rf\.[0-9A-Za-z]+\.\w+")  # Roboflow: street_jpg.rf.5d41402abc4b2a76b9719d911017c592.jpg


def make_thumbnail(image: np.ndarray) -> np.ndarray:
    """Return the grey thumbnail of an RGB uint8 image that near duplicates are found by; uint8 (S, S)."""
    return cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def photograph_of(name: str) -> str | None:
    """Return the name that the versions of a photograph share in an export of Roboflow; None for other names."""
    match = _EXPORTED.fullmatch(name)
    return match and match[1]


def find_near_duplicates(
    thumbnails: np.ndarray, others: np.ndarray, max_bits: int = MAX_BITS
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the row of each image (N, S, S) that has near duplicates among others (M, S, S), and their rows there."""
    signs, gradients = _describe(others)
    for start in range(0, len(thumbnails), _BLOCK):
        block = thumbnails[start : start + _BLOCK]
        is_similar = np.zeros((len(block), len(others)), dtype=bool)
        for turned in _orientations(block):
            turned_signs, turned_gradients = _describe(turned)
            is_candidate = turned_signs @ signs.T >= NUM_BITS - 2 * max_bits  # equal bits without different ones
            rows = np.flatnonzero(is_candidate.any(axis=1))
            is_similar[rows] |= is_candidate[rows] & (turned_gradients[rows] @ gradients.T >= _MIN_CORRELATION)
        for row in np.flatnonzero(is_similar.any(axis=1)):
            yield start + int(row), np.flatnonzero(is_similar[row])


def group_versions(names: Sequence[str], thumbnails: np.ndarray | None, max_bits: int = MAX_BITS) -> np.ndarray:
    """Return the group of each of N images, int64 (N,): the first row that it is a version of, directly or over others.

    Without thumbnails (N, S, S), only names count. Near duplicates differ in at most ``max_bits`` of NUM_BITS.
    """
    groups = np.arange(len(names))
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows_of.setdefault(photograph_of(name) or f"/{row}", []).append(row)
    for rows in rows_of.values():
        groups[rows] = rows[0]
    for row, columns in () if thumbnails is None else find_near_duplicates(thumbnails, thumbnails, max_bits):
        joined = np.unique(groups[[row, *columns]])
        if len(joined) > 1:
            groups[np.isin(groups, joined)] = joined[0]
    return groups


def _orientations(thumbnails: np.ndarray) -> Iterator[np.ndarray]:
    """Yield thumbnails (N, S, S) in the four turns of a square, each also mirrored."""
    for number in range(4):
        turned = np.rot90(thumbnails, number, axes=(1, 2))
        yield from (turned, turned[:, :, ::-1])


def _describe(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the signs of the gradients, -1 or 1, and the gradients with length 1: float32 (N, bits), 0 if plain."""
    grey = thumbnails.astype(np.float32)
    steps = (grey[:, :, :-1] - grey[:, :, 1:], grey[:, :-1] - grey[:, 1:])
    gradients = np.concatenate([step.reshape(len(grey), NUM_BITS // 2) for step in steps], axis=1)
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    has_texture = lengths >= _PLAIN
    signs = np.where(gradients > 0, np.float32(1), np.float32(-1))
    return signs * has_texture, gradients * has_texture / np.maximum(lengths, _PLAIN)
