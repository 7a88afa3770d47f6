"""Width and height from the first bytes of an image file, before anything is decoded or allocated for it."""

import re
import struct

# JPEG (ITU-T T.81, table B.1): after 0xFF the code of a marker. What lies between segments is skipped, as libjpeg does.
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15; the three between are tables
_ARITHMETIC = (0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD8)))
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA


def header_size(data: memoryview) -> tuple[int, int] | None:
    """Return (width, height) in pixels as stored, EXIF aside, of a JPEG, PNG, BMP or WebP file.

    Args:
        data: the content of the file.

    Returns:
        None: it is none of these, or its header is incomplete.

    Raises:
        ValueError: the file is too short for the image that the header describes.
    """
    start = bytes(data[:30])
    try:
        if start.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        if start[:8] == b"\x89PNG\r\n\x1a\n" and start[12:16] == b"IHDR":
            return struct.unpack_from(">II", start, 16)
        if start.startswith(b"BM"):
            return _bmp_size(start)
        if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
            return _webp_size(start)
    except struct.error:
        pass
    return None


def _jpeg_size(data: memoryview) -> tuple[int, int] | None:
    position = 2
    while match := _MARKER.search(data, position):
        position = match.end()
        marker = data[position - 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            if marker not in _ARITHMETIC:
                _check_jpeg_length(width, height, len(data))
            return width, height
        if marker in (_END_OF_IMAGE, _START_OF_SCAN):
            return None
        if marker not in _WITHOUT_LENGTH:
            (length,) = struct.unpack_from(">H", data, position)
            position += max(length, 2)
    return None


def _check_jpeg_length(width: int, height: int, num_bytes: int) -> None:
    """Every block of 8 x 8 pixels takes a Huffman code of at least one bit; libjpeg fills what is missing with grey."""
    least = -(-width // 8) * -(-height // 8) // 8
    if num_bytes < least:
        raise ValueError(
            f"its header says {width} x {height} pixels, which take {least} bytes at least; it has {num_bytes}"
        )


def _bmp_size(start: bytes) -> tuple[int, int]:
    (header_length,) = struct.unpack_from("<I", start, 14)
    width, height = struct.unpack_from("<HH" if header_length == 12 else "<ii", start, 18)
    return abs(width), abs(height)  # a negative height says that the first row is the topmost


def _webp_size(start: bytes) -> tuple[int, int] | None:
    """The three kinds of https://developers.google.com/speed/webp/docs/riff_container: lossy, lossless, extended."""
    if start[12:16] == b"VP8 ":
        width, height = struct.unpack_from("<HH", start, 26)
        return width & 0x3FFF, height & 0x3FFF
    if start[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", start, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if start[12:16] == b"VP8X" and len(start) == 30:
        return int.from_bytes(start[24:27], "little") + 1, int.from_bytes(start[27:30], "little") + 1
    return None
