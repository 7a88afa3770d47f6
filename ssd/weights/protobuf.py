"""Messages in the wire format of protocol buffers, read without their schema (protobuf.dev, "Encoding").

Only the fields of one message are read at a time; nothing of a file is copied before it is asked for.
"""

from collections.abc import Iterator

import numpy as np

from ssd.utils.errors import CheckpointError

Value = int | memoryview
Message = dict[int, list[Value]]  # values by field number, in their order: varints as int, all others as bytes

_MAX_FIELDS = 1_000_000  # of a message; files of networks have thousands
_VARINT, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}  # number of bytes by wire type


def parse(data: bytes | memoryview) -> Message:
    """Read the fields of a message; CheckpointError if the bytes are none."""
    view, place = memoryview(data), 0
    message: Message = {}
    for _ in range(_MAX_FIELDS):
        if place == len(view):
            return message
        tag, place = read_varint(view, place)
        kind = tag & 7
        size, place = read_varint(view, place) if kind in (_VARINT, _BYTES) else (_FIXED.get(kind), place)
        if size is None:
            raise CheckpointError(f"byte {place} begins a field of wire type {kind}, which does not exist")
        value: Value = size
        if kind != _VARINT:
            if size > len(view) - place:
                raise CheckpointError(
                    f"a field of {size} bytes has {len(view) - place}: the file is cut off or damaged"
                )
            value, place = view[place : place + size], place + size
        message.setdefault(tag >> 3, []).append(value)
    raise CheckpointError(f"a message has more than {_MAX_FIELDS} fields: the file is damaged")


def messages(message: Message, number: int) -> Iterator[Message]:
    """Yield the messages in a field."""
    for value in message.get(number, []):
        yield parse(_bytes(value, number))


def text(message: Message, number: int) -> str:
    """Return the text in a field, "" if it is missing."""
    values = message.get(number)
    return str(_bytes(values[-1], number), "utf-8", "replace") if values else ""


def ints(message: Message, number: int) -> list[int]:
    """Return the whole numbers in a field, packed or not."""
    found: list[int] = []
    for value in message.get(number, []):
        if isinstance(value, int):
            found.append(value)
            continue
        place = 0
        while place < len(value):
            one, place = read_varint(value, place)
            found.append(one)
    return [value - 2**64 if value >= 2**63 else value for value in found]  # int64


def floats(message: Message, number: int, dtype: str = "<f4") -> np.ndarray:
    """Return the numbers of fixed size in a field, packed or not, as a new array of ``dtype``."""
    data = b"".join(_bytes(value, number) for value in message.get(number, []))
    if len(data) % np.dtype(dtype).itemsize:
        raise CheckpointError(f"field {number} has {len(data)} bytes, which are no whole numbers: the file is damaged")
    return np.frombuffer(bytearray(data), dtype)


def _bytes(value: Value, number: int) -> memoryview:
    if isinstance(value, int):
        raise CheckpointError(f"field {number} has the number {value} in place of bytes")
    return value


def read_varint(view: memoryview, place: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place == len(view):
            raise CheckpointError("it ends within a number: the file is cut off or damaged")
        byte = view[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), place
    raise CheckpointError("a number has more than ten bytes: the file is damaged")
