"""Annotated size and true size of an image."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssd.data.datasets.paths import MissingPathError, find_file, path_inside, require_path
from ssd.data.datasets.policy import MAX_COORDINATE, RAISE_ERRORS, ErrorPolicy, mistake_at
from ssd.utils.errors import DatasetError, ImageError, shorten
from ssd.utils.image import image_size, read_reduced_image, reduced_size

# Kinds of DatasetError. An image with a mismatch cannot be used; a slip is corrected by the size of the image itself.
SIZE_MISMATCH, SIZE_SLIP = "size mismatch", "size slip"
MISSING, EMPTY, CORRUPT = "missing image", "empty image", "corrupt image"


def find_image(folder: Path, names: Sequence[str], source: Path, field: str) -> Path:
    """Return the image that an annotation names, the first of ``names`` that exists; DatasetError if none does."""
    found = find_file(str(folder), names)
    if found is not None:
        return Path(found)
    if any(path_inside(str(folder), name) for name in names):
        problem = f"the image {shorten(names[0])} is not in {folder}; set IMAGES to the folder that holds it"
        raise MissingPathError(f"{source}: {field}: {problem}", path=folder / names[0], field=field, kind=MISSING)
    problem = f"the file name {shorten(names[0])} is no file inside {folder}; name a folder that holds all images, and "
    raise mistake_at(source, field, f"{problem}the files relative to it")


def true_size(
    width: int, height: int, boxes: np.ndarray, image_path: Path, policy: ErrorPolicy = RAISE_ERRORS
) -> tuple[int, int]:
    """Return (width, height) of an image: as annotated, or as in its header if that is missing or a box leaves it.

    A size of 0 is missing; less than a pixel outside is rounding. The file is opened only where the annotated size does
    not fit, or the policy reads headers.
    """
    is_annotated = width > 0 and height > 0
    is_left = not is_annotated or _is_left(boxes, (width, height))
    if not is_left and not policy.reads_headers:
        return width, height
    own = image_size_of(image_path, (width, height))
    if is_annotated and own != (width, height):
        is_slip = (is_left or own == (height, width)) and not _is_left(boxes, own)
        error = _mismatch(image_path, own, (width, height), SIZE_SLIP if is_slip else SIZE_MISMATCH)
        if not is_slip:
            raise error
        policy.note(error)
    return own if is_left else (width, height)


def _is_left(boxes: np.ndarray, size: tuple[int, int]) -> bool:
    """Return whether a box (G, 4) leaves an image of ``size`` (width, height) by a pixel or more."""
    return bool((boxes >= np.add(size * 2, 1)).any())


def _mismatch(path: Path, own: tuple[int, int], annotated: tuple[int, int], kind: str = SIZE_MISMATCH) -> DatasetError:
    message = f"{path}: the image is {own[0]} x {own[1]} pixels but annotated as {annotated[0]} x {annotated[1]}"
    if kind == SIZE_MISMATCH and own == annotated[::-1]:
        message += ", and a box leaves the image, so the sides were not exchanged; correct or remove these boxes"
    elif kind == SIZE_MISMATCH:
        message += "; if the boxes fit the image, correct the annotated size, or remove it"
    return DatasetError(message, path=path, kind=kind)


def is_side(value: Any) -> bool:
    """Return whether a value in an annotation can be the width of an image in pixels; nan compares as false."""
    return type(value) in (int, float) and 1 <= value <= MAX_COORDINATE and value == int(value)


def image_size_of(path: Path, expected_size: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return (width, height) of an image from its header; see ``read_image`` for ``expected_size``."""
    require_path(path, "image")
    try:
        return image_size(path, expected_size)
    except ImageError as error:
        raise DatasetError(str(error), path=path, kind=unreadable_kind(path)) from error


def unreadable_kind(path: Path) -> str:
    """Return the kind of problem of an image that cannot be read."""
    if not os.path.exists(path):
        return MISSING
    return EMPTY if os.path.isfile(path) and os.path.getsize(path) == 0 else CORRUPT


def read_annotated_image(
    path: Path, size: tuple[int, int], boxes: np.ndarray, reduction: int = 1
) -> tuple[np.ndarray, int]:
    """Read an image, in the orientation in which its boxes (G, 4) were drawn, with ``read_reduced_image``."""
    image, found = read_reduced_image(path, reduction, expected_size=size)
    own, exchanged = image.shape[1::-1], size[::-1]
    if own != reduced_size(size, found) and (own != reduced_size(exchanged, found) or _is_left(boxes, exchanged)):
        raise _mismatch(path, image_size_of(path, size), size)
    return image, found
