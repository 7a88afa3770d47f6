"""Flatbuffers, the files of TensorFlow Lite, read without a schema compiler.

A table is a position in the file; its vtable has the place of each of its fields, and a missing field has its default.
The layout is that of https://flatbuffers.dev/internals.
"""

import struct
from typing import Any

import numpy as np


class Table:
    """Table of a flatbuffer; ``struct.error`` or ``ValueError`` mean that it points outside the file."""

    def __init__(self, data: bytes, position: int):
        self.data = data
        self.position = position
        self.vtable = position - _number(data, position, "<i")
        self.size = _number(data, self.vtable, "<H")

    def number(self, field: int, layout: str) -> int:
        """Return a number whose ``layout`` is a format of ``struct``; 0 if it is missing."""
        place = self._place(field)
        return 0 if place is None else _number(self.data, place, layout)

    def table(self, field: int) -> "Table | None":
        """Return a table."""
        place = self._place(field)
        return None if place is None else Table(self.data, place + _number(self.data, place, "<I"))

    def tables(self, field: int) -> list["Table"]:
        """Return a list of tables."""
        start, count = self._vector(field, 4)
        places = range(start, start + 4 * count, 4)
        return [Table(self.data, place + _number(self.data, place, "<I")) for place in places]

    def array(self, field: int, dtype: Any) -> np.ndarray:
        """Return a list of numbers."""
        dtype = np.dtype(dtype)
        start, count = self._vector(field, dtype.itemsize)
        return np.frombuffer(self.data, dtype, count, start) if count else np.zeros(0, dtype)

    def text(self, field: int) -> str:
        """Return a text."""
        return self.array(field, np.uint8).tobytes().decode("utf-8", "replace")

    def _place(self, field: int) -> int | None:
        """Return the place of a field in the file."""
        entry = 4 + 2 * field
        offset = _number(self.data, self.vtable + entry, "<H") if entry < self.size else 0
        return self.position + offset if offset else None

    def _vector(self, field: int, item_size: int) -> tuple[int, int]:
        """Return the first place and the number of the items of a list."""
        place = self._place(field)
        if place is None:
            return 0, 0
        start = place + _number(self.data, place, "<I")
        count = _number(self.data, start, "<I")
        if start + 4 + count * item_size > len(self.data):
            raise ValueError(f"a list of {count} items ends behind the end of the file")
        return start + 4, count


def root_table(data: bytes) -> Table:
    """Return the outermost table of a file."""
    return Table(data, _number(data, 0, "<I"))


def _number(data: bytes, place: int, layout: str) -> int:
    if place < 0:  # struct counts such places from the end
        raise ValueError("a reference points in front of the file")
    value: int = struct.unpack_from(layout, data, place)[0]
    return value
