"""Pillow, which is strict: what is wrong with an image file, and its header without its pixels."""

import struct
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

# What Pillow raises for files that are not, or not quite, images; which one depends on the format.
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)

# Opened without Image.open, whose limit of pixels, and warning below it, differ from ours.
_CLASSES: dict[bytes, type[ImageFile]] = {
    b"\xff\xd8": JpegImageFile,
    b"\x89PNG": PngImageFile,
    b"BM": BmpImageFile,
    b"RIFF": WebPImageFile,
}
_EXIF_ORIENTATION = 0x0112
_EXIF_TRANSPOSED = (5, 6, 7, 8)  # the orientations that swap width and height


def open_with_pillow(file: BinaryIO) -> Image.Image:
    """Return the image with its header read and nothing decoded.

    Raises:
        OSError, ValueError, ...: one of PILLOW_ERRORS; see ``cause``.
    """
    start = file.read(4)
    file.seek(0)
    for magic, image_class in _CLASSES.items():
        if start.startswith(magic):
            try:
                return image_class(file)
            except SyntaxError as error:
                raise UnidentifiedImageError(str(error)) from error
    return Image.open(file)


def cause(error: Exception) -> str:
    """Say what one of PILLOW_ERRORS means."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or its first bytes are damaged"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # "No such file or directory", "Permission denied", ...
    if isinstance(error, Image.DecompressionBombError):
        return str(error)
    return f"the image is damaged: {error}"


def is_transposed(image: Image.Image) -> bool:
    """Whether the EXIF orientation swaps width and height; damaged EXIF data counts as none, as for OpenCV."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
    except PILLOW_ERRORS:
        return False
    return exif.get(_EXIF_ORIENTATION) in _EXIF_TRANSPOSED
