"""Sizes as configs write them."""

from collections.abc import Sequence


def height_width(size: int | Sequence[int]) -> tuple[int, int]:
    """Read a size: n means (n, n), a sequence is (height, width) already (or (y, x), for strides)."""
    if isinstance(size, Sequence):
        height, width = size
        return height, width
    return size, size
