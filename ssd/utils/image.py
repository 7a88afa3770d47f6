"""Reading and writing of images: RGB uint8 arrays (H, W, 3), turned upright as their EXIF tag says.

Pillow reads the header, with size and orientation, and OpenCV the pixels as they are stored; both must agree.
"""

import importlib.util
import io
import math
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ssd.utils.errors import ImageError, os_errors_as
from ssd.utils.files import atomic_write, describe_others, warn_of_others

WRITTEN_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_DECODES_AVIF = importlib.util.find_spec("PIL._avif") is not None and re.search(
    r"\bAVIF: +(?!NO\b)\S", cv2.getBuildInformation()
)
# Images that datasets and folders hold: the one list. Of a GIF, and of a TIFF of several pages, the first is read.
IMAGE_SUFFIXES = (*WRITTEN_SUFFIXES, ".jfif", ".jpe", ".gif", *((".avif",) if _DECODES_AVIF else ()))
# 16,384 x 16,384, which is 0.8 GB as RGB: above scans and aerial photographs, and small enough for the memory of a
# machine that can hold a detector, even if every decoding thread reads one.
MAX_PIXELS = 2**28
_MAX_FILE_BYTES = 8 * MAX_PIXELS  # as RGBA of 16 bits, uncompressed
# Reduction -> flag. IMREAD_REDUCED_COLOR_n is that of grey images with that of BGR.
_GREY_FLAGS = (cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_GRAYSCALE_8)
_REDUCTION_FLAGS = dict(zip((1, 2, 4, 8), (0, *_GREY_FLAGS), strict=True))
# Errors of Pillow for files that are not, or not quite, images; the class depends on the format.
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
# Opened without Image.open, whose limit of pixels, and warning below it, differ from ours.
_OPENERS: dict[bytes, Callable[[Any], Image.Image]] = {
    **{b"\xff\xd8": JpegImageFile, b"\x89PNG": PngImageFile, b"BM": BmpImageFile, b"RIFF": WebPImageFile}
}
_EXIF_ORIENTATION = 0x0112
# EXIF orientation -> whether to exchange rows and columns, then the axis of cv2.flip or None (Exif 2.32, table 6).
_TURNS: dict[Any, tuple[bool, int | None]]
_TURNS = {2: (False, 1), 3: (False, -1), 4: (False, 0), 5: (True, None), 6: (True, 1), 7: (True, -1), 8: (True, 0)}
_NO_TURN: tuple[bool, int | None] = (False, None)
_DEEP_FORMATS = (b"\x89PNG", b"II*\0", b"MM\0*")  # PNG and TIFF, which may have 16 bits


def read_image(source: str | os.PathLike[str] | bytes, expected_size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode an image file, or its bytes, as RGB uint8 (H, W, 3); alpha is dropped.

    ``expected_size`` is the annotated (width, height). Some tools annotate the stored pixels, without the EXIF
    rotation: if only the stored orientation agrees with this size, it is returned. ImageError is raised for a file that
    is missing, truncated, or has more than MAX_PIXELS.
    """
    return read_reduced_image(source, 1, expected_size)[0]


def read_reduced_image(
    source: str | os.PathLike[str] | bytes, reduction: int, expected_size: tuple[int, int] | None = None
) -> tuple[np.ndarray, int]:
    """Decode a JPEG at a fraction of its size, from fewer coefficients; other formats in full.

    ``reduction`` is 1, 2, 4 or 8; each pixel of the result is the mean of a square of this side. Return RGB uint8
    (ceil(H / reduction), ceil(W / reduction), 3), and the reduction applied, which the format or EXIF tag may lower.
    """
    data, name = _read_bytes(source)
    if not data:
        raise ImageError(f"{name}: the file is empty")
    size, turn = _read_header(data, name, expected_size)
    if not _is_jpeg(data):
        reduction = 1
    elif turn != _NO_TURN:  # may move the far edge, with an incomplete square, into the near one
        reduction = math.gcd(reduction, *(expected_size or (1, 1)))
    pixels = _decode(data, name, reduction)
    if pixels.shape[1::-1] != reduced_size(size, reduction):
        raise ImageError(f"{name}: {size} pixels by its header, but {pixels.shape[1::-1]} are stored; save it again")
    is_exchanged, axis = turn
    if is_exchanged:
        pixels = cv2.transpose(pixels)
    return pixels if axis is None else cv2.flip(pixels, axis), reduction


def reduced_size(size: tuple[int, int], reduction: int) -> tuple[int, int]:
    """Return the size in pixels of an image of ``size`` that was decoded with ``reduction``."""
    return -(-size[0] // reduction), -(-size[1] // reduction)


def image_size(path: str | os.PathLike[str], expected_size: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return (width, height) in pixels of the result of ``read_image``, from the file's header."""
    _refuse_pipe(path)
    size, (is_exchanged, _) = _read_header(path, os.fspath(path), expected_size)
    return size[::-1] if is_exchanged else size


def image_names(folder: str | os.PathLike[str]) -> list[str]:
    """Return the sorted file names of the images directly inside ``folder``; raise ImageError if there are none."""
    folder = os.fspath(folder)
    try:
        with os.scandir(folder) as entries:  # a link to nothing counts, and fails when it is read
            files = sorted(entry.name for entry in entries if not entry.is_dir())
    except OSError as error:
        raise ImageError(f"{folder}: {error.strerror}") from error
    names = [name for name in files if name.lower().endswith(IMAGE_SUFFIXES)]
    others = set(files) - set(names)
    if not names:
        hint = describe_others(others, "; others are there: ")
        raise ImageError(
            f"{folder}: no images directly inside; these suffixes count: {', '.join(IMAGE_SUFFIXES)}{hint}"
        )
    warn_of_others(folder, others)
    return names


def write_image(image: np.ndarray, path: Path) -> None:
    """Write an RGB image (H, W, 3) in the format that the suffix of ``path`` names; raise ImageError if that fails."""
    try:
        done, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        done = False
    if not done:
        raise ImageError(
            f"{path}: {image.shape[1]} x {image.shape[0]} pixels cannot be encoded as {path.suffix!r}; "
            f"name a file with another suffix: {', '.join(WRITTEN_SUFFIXES)}"
        )
    with os_errors_as(ImageError, path), atomic_write(path, flush=False) as file:
        file.write(encoded.tobytes())  # not imwrite, which fails silently


def cause(error: Exception) -> str:
    """Return the meaning of one of PILLOW_ERRORS in words."""
    if isinstance(error, (UnidentifiedImageError, SyntaxError)):
        return "not an image, or its first bytes are damaged"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # "No such file or directory", "Permission denied", ...
    if isinstance(error, Image.DecompressionBombError):
        return str(error)
    return f"the image is damaged: {error}"


def _read_bytes(source: str | os.PathLike[str] | bytes) -> tuple[bytes, str]:
    """Return the encoded image, and its name for messages."""
    if isinstance(source, bytes):
        return source, f"image of {len(source)} bytes"
    name = os.fspath(source)
    try:
        _refuse_pipe(name)
        if (size := os.path.getsize(name)) > _MAX_FILE_BYTES:
            raise ImageError(f"{name}: {size} bytes are more than any image of {MAX_PIXELS} pixels takes")
        with open(name, "rb", buffering=0) as file:  # cv2.imread cannot open every non-ASCII path on Windows
            return file.read(), name
    except OSError as error:
        raise ImageError(f"{name}: {cause(error)}") from error


def _refuse_pipe(path: str | os.PathLike[str]) -> None:
    """Raise ImageError for a pipe or device, which may never end."""
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise ImageError(f"{os.fspath(path)}: a pipe or device; give a file")


def _read_header(
    source: str | os.PathLike[str] | bytes, name: str, expected_size: tuple[int, int] | None
) -> tuple[tuple[int, int], tuple[bool, int | None]]:
    """Return (width, height) as stored, and one of _TURNS to apply; damaged EXIF data counts as none."""
    turn = _NO_TURN
    with _opened(source, name) as image:
        width, height = image.size
        with suppress(*PILLOW_ERRORS):
            exif = Image.Exif()
            exif.load(image.info.get("exif", b""))
            turn = _TURNS.get(exif.get(_EXIF_ORIENTATION), _NO_TURN)
    if width * height > MAX_PIXELS:
        limit = f"more than the {MAX_PIXELS} that are read; cut the image into parts, or shrink it"
        raise ImageError(f"{name}: {width} x {height} pixels, {limit}")
    is_stored = turn[0] and expected_size == (width, height) != (height, width)
    return (width, height), _NO_TURN if is_stored else turn


def _decode(data: bytes, name: str, reduction: int) -> np.ndarray:
    """Decode to RGB uint8 (H, W, 3) as stored."""
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCTION_FLAGS[reduction]
    if data.startswith(_DEEP_FORMATS):
        flags |= cv2.IMREAD_ANYDEPTH
    if _seems_truncated(data):
        with _opened(data, name) as image:
            image.load()
    reason = "convert it to PNG or JPEG"
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        pixels, reason = None, error.err
    if pixels is None:
        with _opened(data, name) as image:
            image.load()  # Pillow is strict, and names the cause
        raise ImageError(f"{name}: OpenCV cannot decode this file: {reason}")
    return pixels if pixels.dtype == np.uint8 else _to_8_bits(pixels, name)


def _to_8_bits(pixels: np.ndarray, name: str) -> np.ndarray:
    """Return the high byte of 16 bits, as the PNG specification has it."""
    if pixels.dtype != np.uint16:
        raise ImageError(f"{name}: the pixels are {pixels.dtype} numbers, whose range is unknown; save them as 8 bits")
    return (pixels >> 8).astype(np.uint8)


def _seems_truncated(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end marker. OpenCV may fill the missing rows with grey instead of failing."""
    if _is_jpeg(data):
        return not data.endswith(b"\xff\xd9")
    return data.startswith(b"\x89PNG") and b"IEND" not in data[-12:]


def _is_jpeg(data: bytes) -> bool:
    return data.startswith(b"\xff\xd8")


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes, name: str) -> Iterator[Image.Image]:
    """Open an image with Pillow by its header; raise ImageError for the errors of Pillow in the block."""
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
            start = file.read(4)
            file.seek(0)
            opened = next((kind for magic, kind in _OPENERS.items() if start.startswith(magic)), Image.open)
            with opened(file) as image:
                yield image
    except PILLOW_ERRORS as error:
        raise ImageError(f"{name}: {cause(error)}") from error
