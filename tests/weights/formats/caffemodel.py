"""Writing of .caffemodel files, for tests."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor


def field(number: int, value: int | bytes | float) -> bytes:
    """A field of a message: a varint, bytes, or a float of 32 bits."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + np.float32(value).tobytes()
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    digits = []
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def blob(value: Tensor) -> bytes:
    shape = b"".join(varint(side) for side in value.shape)
    return field(7, field(1, shape)) + field(5, value.numpy().tobytes())


def layer(name: str, kind: str, blobs: Sequence[bytes] = (), parameters: bytes = b"") -> bytes:
    """A layer of a NetParameter."""
    content = [field(1, name.encode()), field(2, kind.encode()), *(field(7, one) for one in blobs), parameters]
    return field(100, b"".join(content))


def caffemodel(weights: Mapping[str, Tensor], *others: bytes) -> bytes:
    """A file of weights that are named LAYER.I, and of ``others``, made by ``layer``."""
    layers: dict[str, list[bytes]] = {}
    for name, value in weights.items():
        layers.setdefault(name.rpartition(".")[0], []).append(blob(value))
    return b"".join([layer(name, "Convolution", blobs) for name, blobs in layers.items()] + list(others))
