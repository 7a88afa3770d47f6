"""Reading images: RGB uint8 arrays (H, W, 3), turned upright as their EXIF tag says."""

import io
import math
import os
import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from ssd.utils.errors import ImageError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

# Reduction -> flag. IMREAD_REDUCED_COLOR_n is that of grey images with that of BGR.
_REDUCTION_FLAGS = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_EXIF_ORIENTATION = 0x0112
_EXIF_TRANSPOSED = (5, 6, 7, 8)  # the orientations that swap width and height
# What Pillow raises for files that are not, or not quite, images; which one depends on the format.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def read_image(source: str | os.PathLike[str] | bytes, expected_size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode an image file, or its bytes. Grey, palette, RGBA, CMYK and 16-bit images end as RGB, alpha is dropped.

    Args:
        source: a path, or the content of an image file.
        expected_size: (width, height) as annotated. Some tools annotate the pixels as they are stored and not as
            EXIF turns them: if only the stored orientation agrees with this size, it is the one returned.

    Returns:
        RGB uint8, (H, W, 3).

    Raises:
        ImageError: the file is missing, empty, truncated or no image.
    """
    return read_reduced_image(source, 1, expected_size)[0]


def read_reduced_image(
    source: str | os.PathLike[str] | bytes, reduction: int, expected_size: tuple[int, int] | None = None
) -> tuple[np.ndarray, int]:
    """Decode an image at a fraction of its size, where that is quicker: a JPEG, from fewer coefficients.

    Args:
        source: a path, or the content of an image file.
        reduction: 1, 2, 4 or 8; each pixel of the result stands for a square of this many pixels a side.
        expected_size: see ``read_image``; (width, height) in full.

    Returns:
        RGB uint8, (ceil(H / reduction), ceil(W / reduction), 3), and the reduction that was applied: as asked, or
        less if the format or the EXIF tag forbids it.

    Raises:
        ImageError: see ``read_image``.
    """
    data, name = _read_bytes(source)
    reduction = _possible_reduction(data, reduction, expected_size or (1, 1))
    flags = cv2.IMREAD_COLOR_RGB | _REDUCTION_FLAGS[reduction]
    pixels = _decode(data, name, flags)
    height, width = pixels.shape[:2]
    if expected_size and reduced_size(expected_size, reduction) == (height, width) and height != width:
        pixels = _decode(data, name, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    return pixels, reduction


def _possible_reduction(data: np.ndarray, reduction: int, size: tuple[int, int]) -> int:
    """The reduction, or less: EXIF may turn the far edge, whose last pixel is incomplete, into the near one."""
    if reduction == 1 or not _is_jpeg(data):
        return 1
    return math.gcd(reduction, *size) if b"Exif\0\0" in data.tobytes() else reduction


def reduced_size(size: tuple[int, int], reduction: int) -> tuple[int, int]:
    """Return the size in pixels of an image of ``size`` that was decoded with ``reduction``."""
    return -(-size[0] // reduction), -(-size[1] // reduction)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (width, height) in pixels of the image that ``read_image`` would give, from the file's header alone.

    Raises:
        ImageError: the file is missing or its header is not that of an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            is_transposed = _is_transposed(image.info.get("exif", b""))
    except _DECODE_ERRORS as error:
        raise ImageError(f"{os.fspath(path)}: {_cause(error)}") from error
    return (height, width) if is_transposed else (width, height)


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the images directly inside ``folder``, sorted by name. Suffixes count in upper and lower case.

    Raises:
        ImageError: the folder does not exist or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder")
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise ImageError(f"{folder}: no images directly inside; these suffixes count: {', '.join(IMAGE_SUFFIXES)}")
    return images


def _read_bytes(source: str | os.PathLike[str] | bytes) -> tuple[np.ndarray, str]:
    """The encoded image as uint8 (N,), and what to call it in an error."""
    if isinstance(source, bytes):
        data, name = np.frombuffer(source, np.uint8), f"image of {len(source)} bytes"
    else:
        name = os.fspath(source)
        try:
            data = np.fromfile(name, np.uint8)  # cv2.imread cannot open every non-ASCII path on Windows
        except OSError as error:
            raise ImageError(f"{name}: {_cause(error)}") from error
    if data.size == 0:
        raise ImageError(f"{name}: the file is empty")
    return data, name


def _decode(data: np.ndarray, name: str, flags: int) -> np.ndarray:
    """What ``flags`` ask for: RGB uint8 (H, W, 3)."""
    if _seems_truncated(data):
        _check_complete(data, name)
    log_level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # the ImageError says it all
    try:
        pixels = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise ImageError(f"{name}: {error.err}") from error
    finally:
        cv2.utils.logging.setLogLevel(log_level)
    if pixels is None:
        _check_complete(data, name)
        raise ImageError(f"{name}: OpenCV cannot decode this file; convert it to PNG or JPEG")
    return pixels


def _seems_truncated(data: np.ndarray) -> bool:
    """Whether a JPEG or PNG lacks its end marker. OpenCV may fill the missing rows with grey instead of failing."""
    tail = data[-12:].tobytes()
    if _is_jpeg(data):
        return not tail.endswith(b"\xff\xd9")
    return data[:4].tobytes() == b"\x89PNG" and b"IEND" not in tail


def _is_jpeg(data: np.ndarray) -> bool:
    return data[:2].tobytes() == b"\xff\xd8"


def _check_complete(data: np.ndarray, name: str) -> None:
    """Raise ImageError with the cause if Pillow, which is strict, cannot decode the image."""
    try:
        with Image.open(io.BytesIO(data.tobytes())) as image:
            image.load()
    except _DECODE_ERRORS as error:
        raise ImageError(f"{name}: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or its first bytes are damaged"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # "No such file or directory", "Permission denied", ...
    return f"the image is damaged: {error}"


def _is_transposed(exif_bytes: bytes) -> bool:
    """Whether the EXIF orientation swaps width and height; damaged EXIF data counts as none, as for OpenCV."""
    exif = Image.Exif()
    try:
        exif.load(exif_bytes)
    except _DECODE_ERRORS:
        return False
    return exif.get(_EXIF_ORIENTATION) in _EXIF_TRANSPOSED


def write_image(image: np.ndarray, path: Path) -> None:
    """Write an RGB image (H, W, 3) in the format that the suffix of ``path`` names.

    Raises:
        ImageError: OpenCV cannot encode it, or the file cannot be written.
    """
    done, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise ImageError(f"{path}: cannot be encoded as {path.suffix}")
    try:
        path.write_bytes(encoded.tobytes())  # not imwrite, which fails silently
    except OSError as error:
        raise ImageError(f"{path}: cannot be written: {error.strerror}") from error
