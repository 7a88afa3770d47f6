"""Reading images: RGB uint8 arrays (H, W, 3), turned upright as their EXIF tag says."""

import io
import math
import os
import stat
from pathlib import Path

import cv2
import numpy as np

from ssd.utils.errors import ImageError, os_errors_as
from ssd.utils.image_header import header_size
from ssd.utils.opencv_log import silent_opencv
from ssd.utils.pillow import PILLOW_ERRORS, cause, is_transposed, open_with_pillow

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
# 16,384 x 16,384, which is 0.8 GB as RGB. Scans and aerial photographs stay below; what a small file may unpack to does
# not fill the memory of a machine that can hold a detector, even if every decoding thread meets one.
MAX_PIXELS = 2**28
_MAX_SIDE = 10**6  # libpng's limit; OpenCV's own is little above
_MAX_FILE_BYTES = 8 * MAX_PIXELS  # as RGBA of 16 bits, uncompressed
# Reduction -> flag. IMREAD_REDUCED_COLOR_n is that of grey images with that of BGR.
_REDUCTION_FLAGS = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


def read_image(source: str | os.PathLike[str] | bytes, expected_size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode an image file, or its bytes. Grey, palette, RGBA, CMYK and 16-bit images end as RGB, alpha is dropped.

    Args:
        source: a path, or the content of an image file.
        expected_size: (width, height) as annotated. Some tools annotate the pixels as they are stored and not as
            EXIF turns them: if only the stored orientation agrees with this size, it is the one returned.

    Returns:
        RGB uint8, (H, W, 3).

    Raises:
        ImageError: the file is missing, empty, truncated, no image, or of more than MAX_PIXELS.
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
    _check_size(data, name)
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
        ImageError: the file is missing, its header is not that of an image, or says more than MAX_PIXELS.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file, open_with_pillow(file) as image:
            size = image.size
            is_turned = is_transposed(image)
    except PILLOW_ERRORS as error:
        raise ImageError(f"{name}: {cause(error)}") from error
    _check_limit(size, name)
    return size[::-1] if is_turned else size


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the images directly inside ``folder``, sorted by name. Suffixes count in upper and lower case.

    Raises:
        ImageError: see ``image_names``.
    """
    return [Path(folder, name) for name in image_names(folder)]


def image_names(folder: str | os.PathLike[str]) -> list[str]:
    """Return the file names of the images directly inside ``folder``, sorted; quick for a million of them.

    Raises:
        ImageError: the folder does not exist, cannot be read, or holds no image.
    """
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise ImageError(f"{folder}: no such folder")
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _is_image_file(entry))
    except OSError as error:
        raise ImageError(f"{folder}: {error.strerror}") from error
    if not names:
        raise ImageError(f"{folder}: no images directly inside; these suffixes count: {', '.join(IMAGE_SUFFIXES)}")
    return names


def _is_image_file(entry: os.DirEntry[str]) -> bool:
    """By its name. A link that leads nowhere counts, and fails when it is read, so that it is not missed silently."""
    return entry.name.lower().endswith(IMAGE_SUFFIXES) and not entry.is_dir()


def _read_bytes(source: str | os.PathLike[str] | bytes) -> tuple[np.ndarray, str]:
    """The encoded image as uint8 (N,), and what to call it in an error."""
    if isinstance(source, bytes):
        data, name = np.frombuffer(source, np.uint8), f"image of {len(source)} bytes"
    else:
        name = os.fspath(source)
        try:
            info = os.stat(name)
            if stat.S_ISFIFO(info.st_mode) or stat.S_ISCHR(info.st_mode):
                raise ImageError(f"{name}: a pipe or device, which is not waited for; give a file")
            if info.st_size > _MAX_FILE_BYTES:
                raise ImageError(f"{name}: {info.st_size} bytes are more than any image of {MAX_PIXELS} pixels takes")
            with open(name, "rb", buffering=0) as file:  # cv2.imread cannot open every non-ASCII path on Windows
                data = np.frombuffer(file.read(), np.uint8)
        except OSError as error:
            raise ImageError(f"{name}: {cause(error)}") from error
    if data.size == 0:
        raise ImageError(f"{name}: the file is empty")
    return data, name


def _check_size(data: np.ndarray, name: str) -> None:
    """Raise ImageError if the header says more than MAX_PIXELS, or more than the file can hold."""
    try:
        size = header_size(data.data)
        if size is None:  # of another format, or damaged
            with open_with_pillow(io.BytesIO(data.tobytes())) as image:
                size = image.size
    except PILLOW_ERRORS as error:
        raise ImageError(f"{name}: {cause(error)}") from error
    _check_limit(size, name)


def _check_limit(size: tuple[int, int], name: str) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(
            f"{name}: {size[0]} x {size[1]} pixels are more than the {MAX_PIXELS} that are read; "
            "cut the image into parts, or shrink it, beforehand"
        )
    if max(size) > _MAX_SIDE:
        raise ImageError(
            f"{name}: {size[0]} x {size[1]} pixels; no side may have more than {_MAX_SIDE}; cut the image into parts"
        )


def _decode(data: np.ndarray, name: str, flags: int) -> np.ndarray:
    """What ``flags`` ask for: RGB uint8 (H, W, 3)."""
    if _seems_truncated(data):
        _check_complete(data, name)
    try:
        with silent_opencv():  # the ImageError says it all
            pixels = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise ImageError(f"{name}: OpenCV cannot decode this file: {error.err}") from error
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
        with open_with_pillow(io.BytesIO(data.tobytes())) as image:
            image.load()
    except PILLOW_ERRORS as error:
        raise ImageError(f"{name}: {cause(error)}") from error


def write_image(image: np.ndarray, path: Path) -> None:
    """Write an RGB image (H, W, 3) in the format that the suffix of ``path`` names.

    Raises:
        ImageError: OpenCV cannot encode it, or the file cannot be written.
    """
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
