"""What every dataset format checks: paths exist, class names are known, boxes can be learnt, images fit their boxes.

Legend: N boxes of a whole dataset.
"""

import difflib
import logging
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from ssd.data.datasets.base import BACKGROUND
from ssd.utils.errors import DatasetError
from ssd.utils.image import image_size, read_reduced_image, reduced_size

logger = logging.getLogger(__name__)

_SHOWN = 5  # bad boxes named in the warning
_REASONS = ("inverted", "of zero area", "outside the image")


class MissingPathError(DatasetError):
    """A file or folder of a dataset does not exist."""


def require_path(path: Path, what: str) -> Path:
    """Return ``path``, or raise a MissingPathError that says what its nearest existing folder holds."""
    if path.exists():
        return path
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    names = sorted(islice((entry.name for entry in folder.iterdir()), 1000))
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.7)
    listing = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    hint = f"did you mean {' or '.join(close)}?" if close else f"it holds: {listing or 'nothing'}"
    raise MissingPathError(f"{what} {path} does not exist. The nearest folder that does is {folder}; {hint}")


def check_class_names(names: Sequence[str], place: str) -> tuple[str, ...]:
    """Return ``names`` as they index labels: background first, each once.

    Args:
        names: the classes, without background.
        place: where they were given, for the error.

    Raises:
        DatasetError: a name occurs twice, is no string, or is that of the background; or there is none.
    """
    if not names:
        raise DatasetError(f"{place}: no class names; at least one object or a CLASSES list is needed")
    for name in names:
        if not isinstance(name, str):
            raise DatasetError(f"{place}: class names are strings, got {name!r}; put it in quotes")
        if name == BACKGROUND:
            raise DatasetError(f"{place}: leave {BACKGROUND!r} out, label 0 is always the background")
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise DatasetError(f"{place}: class names must differ, but these occur more than once: {', '.join(repeated)}")
    return (BACKGROUND, *names)


def unknown_class_error(place: str, name: str, class_names: Sequence[str]) -> DatasetError:
    """The error for an annotation whose class is not among ``class_names``."""
    known = ", ".join(class_names[1:21]) + (f", ... ({len(class_names) - 1} in all)" if len(class_names) > 21 else "")
    close = difflib.get_close_matches(name, class_names[1:], n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return DatasetError(
        f"{place}: unknown class {name!r}; {hint}Known classes: {known}. Mend the annotation or CLASSES"
    )


def drop_bad_boxes(
    boxes: np.ndarray, sizes: np.ndarray, place: str, describe: Callable[[int], str]
) -> tuple[np.ndarray, np.ndarray]:
    """Clip boxes to their images and find those that cannot be learnt; one warning counts them and names the first.

    Args:
        boxes: (N, 4) corner form in pixels.
        sizes: (N, 2) width and height in pixels of the image of each box.
        place: the dataset, for the warning.
        describe: tells file and box of a row as they were written, for the warning.

    Returns:
        The clipped boxes, float32 (N, 4), and the mask (N,) of those to keep.
    """
    limit = np.tile(sizes, 2)
    clipped = np.clip(boxes, 0, limit).astype(np.float32)
    extent, visible = boxes[:, 2:] - boxes[:, :2], clipped[:, 2:] - clipped[:, :2]
    bad = np.stack([(extent < 0).any(1), (extent <= 0).any(1), ~(visible > 0).all(1)], axis=1)  # (N, 3)
    is_bad, reason = np.asarray(bad.any(axis=1)), bad.argmax(axis=1)  # the first reason that holds
    if is_bad.any():
        rows = np.flatnonzero(is_bad)
        shown = "; ".join(f"{describe(row)} is {_REASONS[reason[row]]}" for row in rows[:_SHOWN])
        rest = "; ..." if len(rows) > _SHOWN else ""
        logger.warning("%s: %d of %d boxes dropped: %s%s", place, len(rows), len(boxes), shown, rest)
    return clipped, ~is_bad


def split_by_image(image_rows: np.ndarray, num_images: int) -> np.ndarray:
    """Return offsets (num_images + 1,): image i owns rows offsets[i] to offsets[i + 1] of its sorted objects."""
    counts = np.bincount(image_rows, minlength=num_images)
    return np.concatenate([[0], np.cumsum(counts)])


def true_size(width: int, height: int, boxes: np.ndarray, image_path: Path) -> tuple[int, int]:
    """Return width and height of an image: as annotated, or as its header says if that is absent or a box leaves it.

    Args:
        width: of the image in pixels, as annotated; 0 = absent.
        height: likewise.
        boxes: (G, 4) its boxes, corner form in pixels. Less than a pixel outside is rounding.
        image_path: the image file, opened only if the annotated size will not do.

    Raises:
        MissingPathError: the image is asked for its size and does not exist.
        ImageError: likewise, and its header is not that of an image.
    """
    if width <= 0 or height <= 0 or (boxes >= [width + 1, height + 1] * 2).any():
        return image_size(require_path(image_path, "image"))
    return width, height


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
    image, reduction = read_reduced_image(path, reduction, expected_size=(width, height))
    # A width exchanged with the height is a slip of the annotation tool; the boxes are still those of the image.
    if sorted(image.shape[:2]) != sorted(reduced_size((height, width), reduction)):
        if reduction > 1:
            return read_annotated_image(path, width, height)  # which knows the image's size
        raise DatasetError(
            f"{path}: the image is {image.shape[1]} x {image.shape[0]} pixels but annotated as {width} x {height}; "
            "if the boxes fit the image, correct the annotated size, or remove it and the image's own is taken"
        )
    return image, reduction
