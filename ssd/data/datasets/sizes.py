"""The size of an image as it is annotated, and as it is."""

import os
import stat
from pathlib import Path

import numpy as np

from ssd.data.datasets.paths import require_path
from ssd.data.datasets.policy import RAISE_ERRORS, ErrorPolicy
from ssd.utils.errors import DatasetError, ImageError
from ssd.utils.image import MAX_PIXELS, image_size, read_reduced_image, reduced_size

# Kinds of DatasetError. What is mismatched cannot be used; a slip is mended: the image knows its size better.
SIZE_MISMATCH, SIZE_SLIP = "size mismatch", "size slip"
MISSING, EMPTY, CORRUPT = "missing image", "empty image", "corrupt image"


def true_size(
    width: int, height: int, boxes: np.ndarray, image_path: Path, policy: ErrorPolicy = RAISE_ERRORS
) -> tuple[int, int]:
    """Return width and height of an image: as annotated, or as its header says if that is absent or a box leaves it.

    Args:
        width: of the image in pixels, as annotated; 0 or less = absent.
        height: likewise.
        boxes: (G, 4) its boxes, corner form in pixels. Less than a pixel outside is rounding.
        image_path: the image file, opened only if the annotated size will not do, or the policy wants it.
        policy: is told of a size that is not the image's.

    Raises:
        MissingPathError: the image is asked for its size and does not exist.
        DatasetError: likewise, and its header is not that of an image, or says what the annotation cannot mean.
    """
    is_annotated = width > 0 and height > 0
    if is_annotated and width * height > MAX_PIXELS:
        raise DatasetError(
            f"{image_path}: annotated as {width:.4g} x {height:.4g} pixels; at most {MAX_PIXELS} are read",
            path=image_path,
            kind=SIZE_MISMATCH,
        )
    is_left = not is_annotated or bool((boxes >= [width + 1, height + 1] * 2).any())
    if not is_left and not policy.reads_headers:
        return width, height
    own = image_size_of(image_path)
    if is_annotated and own != (width, height):
        error = DatasetError(
            f"{image_path}: the image is {own[0]} x {own[1]} pixels but annotated as {width} x {height}",
            path=image_path,
            kind=SIZE_MISMATCH,
        )
        if not is_left and sorted(own) != sorted((width, height)):
            raise error
        error.kind = SIZE_SLIP
        policy.note(error)
    return own if is_left else (width, height)


def image_size_of(path: Path) -> tuple[int, int]:
    """Return width and height of an image, from its header.

    Raises:
        MissingPathError: it does not exist.
        DatasetError: its header is not that of an image.
    """
    require_path(path, "image")
    try:
        _require_regular(path)
        return image_size(path)
    except ImageError as error:
        raise DatasetError(str(error), path=path, kind=unreadable_kind(path)) from error


def _require_regular(path: Path) -> None:
    """A pipe would be waited for without end. What is not there is for the reader to say."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise ImageError(f"{path}: a folder or a device; an image is a regular file")


def unreadable_kind(path: Path) -> str:
    """Say what is wrong with an image that cannot be read."""
    if not os.path.exists(path):
        return MISSING
    return EMPTY if os.path.isfile(path) and os.path.getsize(path) == 0 else CORRUPT


def read_annotated_image(path: Path, width: int, height: int, reduction: int = 1) -> tuple[np.ndarray, int]:
    """Read an image in the orientation in which its boxes were drawn.

    Args:
        path: the image file.
        width: of the image in pixels, as annotated.
        height: likewise.
        reduction: see ``read_reduced_image``.

    Returns:
        RGB uint8 (H, W, 3), and the reduction that was applied.

    Raises:
        ImageError: the file cannot be decoded.
        DatasetError: the image has another size than annotated, so its boxes mean something else.
    """
    _require_regular(path)
    image, reduction = read_reduced_image(path, reduction, expected_size=(width, height))
    # A width exchanged with the height is a slip of the annotation tool; the boxes are still those of the image.
    if sorted(image.shape[:2]) != sorted(reduced_size((height, width), reduction)):
        if reduction > 1:
            return read_annotated_image(path, width, height)  # which knows the image's size
        raise DatasetError(
            f"{path}: the image is {image.shape[1]} x {image.shape[0]} pixels but annotated as {width} x {height}; "
            "if the boxes fit the image, correct the annotated size, or remove it and the image's own is taken",
            path=path,
            kind=SIZE_MISMATCH,
        )
    return image, reduction
