"""Annotated size and true size of an image."""

import os
from pathlib import Path

import numpy as np

from ssd.data.datasets.paths import require_path
from ssd.data.datasets.policy import RAISE_ERRORS, ErrorPolicy
from ssd.utils.errors import DatasetError, ImageError
from ssd.utils.image import MAX_PIXELS, image_size, read_reduced_image, reduced_size

# Kinds of DatasetError. An image with a mismatch cannot be used; a slip is corrected by the size of the image itself.
SIZE_MISMATCH, SIZE_SLIP = "size mismatch", "size slip"
MISSING, EMPTY, CORRUPT = "missing image", "empty image", "corrupt image"


def true_size(
    width: int, height: int, boxes: np.ndarray, image_path: Path, policy: ErrorPolicy = RAISE_ERRORS
) -> tuple[int, int]:
    """Return (width, height) of an image: as annotated, or as in its header if that is missing or a box leaves it.

    Args:
        width: Annotated width in pixels; 0 or less = missing.
        height: Annotated height in pixels.
        boxes: (G, 4) corner form in pixels. Less than a pixel outside is rounding.
        image_path: Image file, opened only if the annotated size does not fit, or the policy reads headers.
        policy: Takes a note of a size that is corrected.
    """
    is_annotated = width > 0 and height > 0
    if is_annotated and width * height > MAX_PIXELS:
        message = f"{image_path}: annotated as {width:.4g} x {height:.4g} pixels; at most {MAX_PIXELS} are read"
        raise DatasetError(message, path=image_path, kind=SIZE_MISMATCH)
    is_left = not is_annotated or bool((boxes >= [width + 1, height + 1] * 2).any())
    if not is_left and not policy.reads_headers:
        return width, height
    own = image_size_of(image_path)
    if is_annotated and own != (width, height):
        is_slip = is_left or sorted(own) == sorted((width, height))
        message = f"{image_path}: the image is {own[0]} x {own[1]} pixels but annotated as {width} x {height}"
        error = DatasetError(message, path=image_path, kind=SIZE_SLIP if is_slip else SIZE_MISMATCH)
        if not is_slip:
            raise error
        policy.note(error)
    return own if is_left else (width, height)


def image_size_of(path: Path) -> tuple[int, int]:
    """Return (width, height) of an image from its header."""
    require_path(path, "image")
    try:
        _require_regular(path)
        return image_size(path)
    except ImageError as error:
        raise DatasetError(str(error), path=path, kind=unreadable_kind(path)) from error


def _require_regular(path: Path) -> None:
    """Refuse a pipe, which would block, and a folder. A missing file is for the reader to report."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise ImageError(f"{path}: a folder or a device; an image is a regular file")


def unreadable_kind(path: Path) -> str:
    """Return the kind of problem of an image that cannot be read."""
    if not os.path.exists(path):
        return MISSING
    return EMPTY if os.path.isfile(path) and os.path.getsize(path) == 0 else CORRUPT


def read_annotated_image(path: Path, width: int, height: int, reduction: int = 1) -> tuple[np.ndarray, int]:
    """Read an image, in the orientation in which its boxes were drawn, with ``read_reduced_image``.

    Raises:
        ImageError: The file cannot be decoded.
        DatasetError: The image has another size than annotated, so the boxes do not fit it.
    """
    _require_regular(path)
    image, reduction = read_reduced_image(path, reduction, expected_size=(width, height))
    # If width and height are exchanged, the annotation tool is wrong about the size only; the boxes fit the image.
    if sorted(image.shape[:2]) != sorted(reduced_size((height, width), reduction)):
        if reduction > 1:
            return read_annotated_image(path, width, height)  # reports the full size of the image
        raise DatasetError(
            f"{path}: the image is {image.shape[1]} x {image.shape[0]} pixels but annotated as {width} x {height}; "
            "if the boxes fit the image, correct the annotated size, or remove it",
            path=path,
            kind=SIZE_MISMATCH,
        )
    return image, reduction
