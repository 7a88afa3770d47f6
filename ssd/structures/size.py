"""Sizes as configs write them."""

from collections.abc import Sequence


def height_width(size: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width), or (y, x) of strides; n means (n, n)."""
    if isinstance(size, Sequence):
        height, width = size
        return height, width
    return size, size
