"""Reading and writing of images: RGB uint8 arrays (H, W, 3), turned upright as their EXIF tag says."""

import io
import math
import os
import stat
import struct
import threading
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

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
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
_EXIF_ORIENTATION, _EXIF_TRANSPOSED = 0x0112, (5, 6, 7, 8)  # the orientations that swap width and height

_log: Any = getattr(cv2.utils, "logging", cv2)  # has get- and setLogLevel; before OpenCV 5 it is cv2 itself
_SILENT = 0  # cv::utils::logging::LOG_LEVEL_SILENT, which OpenCV 4 does not name in Python
_log_lock = threading.Lock()
_num_silent = 0  # threads in silent_opencv
_log_level: int = _log.getLogLevel()  # to go back to


def read_image(source: str | os.PathLike[str] | bytes, expected_size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode an image file, or its bytes. Grey, palette, RGBA, CMYK and 16-bit images become RGB; alpha is dropped.

    Args:
        source: Path, or the content of an image file.
        expected_size: Annotated (width, height). Some tools annotate the stored pixels, without the EXIF rotation: if
            only the stored orientation agrees with this size, it is returned.

    Returns:
        RGB uint8, (H, W, 3). ImageError is raised for a file that is missing, truncated, or has more than MAX_PIXELS.
    """
    return read_reduced_image(source, 1, expected_size)[0]


def read_reduced_image(
    source: str | os.PathLike[str] | bytes, reduction: int, expected_size: tuple[int, int] | None = None
) -> tuple[np.ndarray, int]:
    """Decode a JPEG at a fraction of its size, from fewer coefficients; other formats in full.

    Args:
        source: Path, or the content of an image file.
        reduction: 1, 2, 4 or 8; each pixel of the result is the mean of a square of this side.
        expected_size: See ``read_image``.

    Returns:
        RGB uint8, (ceil(H / reduction), ceil(W / reduction), 3), and the reduction applied, which is smaller than asked
        if the format or the EXIF tag requires it.
    """
    data, name = _read_bytes(source)
    _check_header(data, name)
    if not _is_jpeg(data):
        reduction = 1
    elif b"Exif\0\0" in data:  # rotation may turn the far edge, with an incomplete square, into the near one
        reduction = math.gcd(reduction, *(expected_size or (1, 1)))
    flags = cv2.IMREAD_COLOR_RGB | _REDUCTION_FLAGS[reduction]
    pixels = _decode(data, name, flags)
    height, width = pixels.shape[:2]
    if expected_size and reduced_size(expected_size, reduction) == (height, width) and height != width:
        pixels = _decode(data, name, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    return pixels, reduction


def reduced_size(size: tuple[int, int], reduction: int) -> tuple[int, int]:
    """Return the size in pixels of an image of ``size`` that was decoded with ``reduction``."""
    return -(-size[0] // reduction), -(-size[1] // reduction)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (width, height) in pixels of the result of ``read_image``, from the file's header."""
    with _opened(path, os.fspath(path)) as image:
        width, height = image.size
        exif = Image.Exif()
        with suppress(*PILLOW_ERRORS):  # damaged EXIF data counts as none, as for OpenCV
            exif.load(image.info.get("exif", b""))
    _check_limit(width, height, os.fspath(path))
    return (height, width) if exif.get(_EXIF_ORIENTATION) in _EXIF_TRANSPOSED else (width, height)


def image_names(folder: str | os.PathLike[str]) -> list[str]:
    """Return the sorted file names of the images directly inside ``folder``; raise ImageError if there are none."""
    folder = os.fspath(folder)
    try:
        with os.scandir(folder) as entries:  # a link to nothing counts, and fails when it is read
            names = sorted(e.name for e in entries if e.name.lower().endswith(IMAGE_SUFFIXES) and not e.is_dir())
    except OSError as error:
        raise ImageError(f"{folder}: {error.strerror}") from error
    if not names:
        raise ImageError(f"{folder}: no images directly inside; these suffixes count: {', '.join(IMAGE_SUFFIXES)}")
    return names


def write_image(image: np.ndarray, path: Path) -> None:
    """Write an RGB image (H, W, 3) in the format that the suffix of ``path`` names; raise ImageError if that fails."""
    try:
        with silent_opencv():
            done, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        done = False
    if not done:
        raise ImageError(
            f"{path}: {image.shape[1]} x {image.shape[0]} pixels cannot be encoded as {path.suffix!r}; "
            f"name a file with another suffix: {', '.join(IMAGE_SUFFIXES)}"
        )
    with os_errors_as(ImageError, path):
        path.write_bytes(encoded.tobytes())  # not imwrite, which fails silently


@contextmanager
def silent_opencv() -> Iterator[None]:
    """Switch off OpenCV's messages inside the block, in the whole process until the last thread has left."""
    global _num_silent, _log_level
    with _log_lock:
        _num_silent += 1
        if _num_silent == 1:
            _log_level = _log.setLogLevel(_SILENT)
    try:
        yield
    finally:
        with _log_lock:
            _num_silent -= 1
            if _num_silent == 0:
                _log.setLogLevel(_log_level)


def silence_ffmpeg() -> None:
    """Silence OpenCV's FFmpeg, unless the user has set its level; call it before the first video is opened."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET


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
        info = os.stat(name)
        if stat.S_ISFIFO(info.st_mode) or stat.S_ISCHR(info.st_mode):
            raise ImageError(f"{name}: a pipe or device, which may never end; give a file")
        if info.st_size > _MAX_FILE_BYTES:
            raise ImageError(f"{name}: {info.st_size} bytes are more than any image of {MAX_PIXELS} pixels takes")
        with open(name, "rb", buffering=0) as file:  # cv2.imread cannot open every non-ASCII path on Windows
            return file.read(), name
    except OSError as error:
        raise ImageError(f"{name}: {cause(error)}") from error


def _check_header(data: bytes, name: str) -> None:
    """Raise ImageError if the header is damaged, or promises more than MAX_PIXELS or than the file can hold."""
    if not data:
        raise ImageError(f"{name}: the file is empty")
    with _opened(data, name) as image:
        width, height = image.size
    _check_limit(width, height, name)
    # Every block of 8 x 8 pixels takes a Huffman code of at least one bit; libjpeg fills missing ones with grey.
    if _is_jpeg(data) and len(data) < -(-width // 8) * -(-height // 8) // 8:
        raise ImageError(f"{name}: the image is damaged: {len(data)} bytes are too few for {width} x {height} pixels")


def _check_limit(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        limit = f"more than the {MAX_PIXELS} that are read; cut the image into parts, or shrink it"
        raise ImageError(f"{name}: {width} x {height} pixels, {limit}")


def _decode(data: bytes, name: str, flags: int) -> np.ndarray:
    """Decode with the flags of cv2.imdecode to RGB uint8 (H, W, 3)."""
    if _seems_truncated(data):
        with _opened(data, name) as image:
            image.load()
    reason = "convert it to PNG or JPEG"
    try:
        with silent_opencv():  # the ImageError has the cause
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        pixels, reason = None, error.err
    if pixels is None:
        with _opened(data, name) as image:
            image.load()  # Pillow is strict, and names the cause
        raise ImageError(f"{name}: OpenCV cannot decode this file: {reason}")
    return pixels


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
