"""Sizes are compared with Pillow, an independent reader of headers; lies are told byte by byte."""

import contextlib
import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ssd.utils.image_header import header_size

SIZE = (61, 47)


def encode(file_format: str, size: tuple[int, int] = SIZE, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 40).convert(mode).save(buffer, file_format, **options)
    return buffer.getvalue()


def size_of(content: bytes) -> tuple[int, int] | None:
    return header_size(memoryview(content))


def segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


@pytest.mark.parametrize("size", [(1, 1), SIZE, (2000, 10)])
@pytest.mark.parametrize(
    ("file_format", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {"progressive": True}),
        ("JPEG", "CMYK", {"dpi": (72, 72)}),
        ("JPEG", "RGB", {"icc_profile": b"\xff\xc0" * 70_000}),  # more than one segment, full of false markers
        ("PNG", "RGB", {}),
        ("PNG", "P", {}),
        ("BMP", "RGB", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),  # the extended kind
    ],
)
def test_size_of_every_format(file_format: str, mode: str, options: dict, size: tuple[int, int]) -> None:
    content = encode(file_format, size, mode, **options)
    assert size_of(content) == size
    array = np.frombuffer(content, np.uint8)
    assert header_size(array.data) == size


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "WEBP"])
def test_no_beginning_of_a_file_is_misread(file_format: str) -> None:
    content = encode(file_format)
    sizes = [size_of(content[:length]) for length in range(len(content))]
    assert set(sizes) == {None, SIZE}
    assert sizes == sorted(sizes, key=lambda size: size is not None)  # from some length on it is known


@pytest.mark.parametrize("content", [b"", b"\xff", b"GIF89a", b"text of some length, with no image in it", b"\xff\xd8"])
def test_other_content_has_no_size(content: bytes) -> None:
    assert size_of(content) is None


def test_a_jpeg_is_walked_as_libjpeg_walks_it() -> None:
    frame = segment(0xC2, struct.pack(">BHHB", 8, 5, 7, 1) + bytes(3))
    thumbnail = segment(0xE1, b"Exif\0\0" + b"\xff\xd8" + segment(0xC0, struct.pack(">BHH", 8, 9, 9)))
    start, tables = b"\xff\xd8", segment(0xC4, bytes(20)) + segment(0xDB, bytes(65))
    assert size_of(start + frame) == (7, 5)
    assert size_of(start + thumbnail + tables + frame) == (7, 5)
    assert size_of(start + b"junk\xff\0junk" + b"\xff\xff\xff" + frame) == (7, 5)
    assert size_of(start + b"\xff\x01\xff\xd0" + frame) == (7, 5)  # markers without a length
    assert size_of(start + b"\xff\xe0\0\0" + frame) == (7, 5)  # a length that would go backwards
    assert size_of(start + b"\xff\xd9" + frame) is None
    assert size_of(start + segment(0xDA, bytes(8)) + frame) is None
    assert size_of(start + b"\xff\xe0\xff\xff" + frame) is None  # a length beyond the end


def test_a_jpeg_too_short_for_its_size_is_a_lie() -> None:
    """7 x 5 blocks of 8 x 8 pixels take 35 bits at least, which is 4 bytes and a part."""

    def frame(width: int, height: int) -> bytes:
        return b"\xff\xd8" + segment(0xC0, struct.pack(">BHHB", 8, height, width, 1) + bytes(3))

    assert len(frame(1, 1)) == 15
    assert size_of(frame(8 * 30, 8 * 4)) == (240, 32)  # 120 blocks, 15 bytes
    with pytest.raises(ValueError, match="248 x 33 pixels, which take 19 bytes at least; it has 15"):
        size_of(frame(8 * 31, 8 * 4 + 1))  # 155 blocks
    assert size_of(frame(65535, 65535).replace(b"\xff\xc0", b"\xff\xc9")) == (65535, 65535)  # arithmetic coding may


def test_the_densest_jpeg_is_no_lie() -> None:
    """One grey level, progressive, with optimised tables: little more than a bit a block."""
    buffer = io.BytesIO()
    Image.new("L", (4096, 4096), 128).save(buffer, "JPEG", progressive=True, optimize=True, quality=1)
    assert size_of(buffer.getvalue()) == (4096, 4096)


@pytest.mark.parametrize(("height", "expected"), [(-20, 20), (20, 20)])
def test_a_bmp_may_be_stored_top_down_or_with_the_old_header(height: int, expected: int) -> None:
    content = bytearray(encode("BMP"))
    content[22:26] = struct.pack("<i", height)
    assert size_of(bytes(content)) == (SIZE[0], expected)
    assert size_of(b"BM" + bytes(12) + struct.pack("<IHH", 12, 300, 200)) == (300, 200)


@given(st.binary(max_size=64), st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff", b"BM", b"RIFF\0\0\0\0WEBPVP8 "]))
def test_any_bytes_are_survived(content: bytes, start: bytes) -> None:
    size = None
    with contextlib.suppress(ValueError):
        size = size_of(start + content)
    assert size is None or min(size) >= 0
