"""What every dataset format checks: class names are known, boxes can be learnt.

Legend: N boxes of a whole dataset.
"""

import difflib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ssd.data.datasets.base import BACKGROUND
from ssd.utils.errors import DatasetError, shorten

logger = logging.getLogger(__name__)

# A coordinate beyond is no pixel of anything, and would overflow in later arithmetic.
MAX_COORDINATE = 1e9
BAD_BOXES = ("inverted", "of zero area", "outside the image")
CLIPPED = "clipped to the image"
_SHOWN = 5  # bad boxes named in the warning
_ROUNDING = 1  # pixel that a box may leave its image by without a note: tools count from 0 or from 1


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
            raise DatasetError(f"{place}: class names are strings, got {shorten(name)}; put it in quotes")
        if name == BACKGROUND:
            raise DatasetError(f"{place}: leave {BACKGROUND!r} out, label 0 is always the background")
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise DatasetError(f"{place}: class names must differ, but these occur more than once: {', '.join(repeated)}")
    return (BACKGROUND, *names)


def unknown_class_error(
    place: str, name: str, class_names: Sequence[str], *, path: Path | None = None, field: str = ""
) -> DatasetError:
    """Return the error for an annotation whose class is not among ``class_names``."""
    known = ", ".join(class_names[1:21]) + (f", ... ({len(class_names) - 1} in all)" if len(class_names) > 21 else "")
    close = difflib.get_close_matches(name, class_names[1:], n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return DatasetError(
        f"{place}: unknown class {shorten(name)}; {hint}Known classes: {known}. Mend the annotation or CLASSES",
        path=path,
        field=field,
        kind="unknown class",
    )


def drop_bad_boxes(
    boxes: np.ndarray,
    sizes: np.ndarray,
    place: str,
    describe: Callable[[int], str],
    note: Callable[[int, str], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Clip boxes to their images and find those that cannot be learnt; one warning counts them and names the first.

    Args:
        boxes: (N, 4) corner form in pixels.
        sizes: (N, 2) width and height in pixels of the image of each box.
        place: the dataset, for the warning.
        describe: tells file and box of a row as they were written, for the warning.
        note: hears, instead of the warning, the row of each bad box and which of BAD_BOXES it is; and the rows of
            boxes that lose more than a pixel, which are CLIPPED.

    Returns:
        The clipped boxes, float32 (N, 4), and the mask (N,) of those to keep.
    """
    limit = np.tile(sizes, 2)
    clipped = np.clip(boxes, 0, limit).astype(np.float32)
    extent, visible = boxes[:, 2:] - boxes[:, :2], clipped[:, 2:] - clipped[:, :2]
    bad = np.stack([(extent < 0).any(1), (extent <= 0).any(1), ~(visible > 0).all(1)], axis=1)  # (N, 3)
    is_bad, reason = np.asarray(bad.any(axis=1)), bad.argmax(axis=1)  # the first reason that holds
    rows = np.flatnonzero(is_bad).tolist()
    if note is not None:
        for row in rows:
            note(row, BAD_BOXES[reason[row]])
        leaves = ((boxes < -_ROUNDING) | (boxes > limit + _ROUNDING)).any(axis=1)
        for row in np.flatnonzero(leaves & ~is_bad).tolist():
            note(row, CLIPPED)
    elif rows:
        shown = "; ".join(f"{describe(row)} is {BAD_BOXES[reason[row]]}" for row in rows[:_SHOWN])
        rest = "; ..." if len(rows) > _SHOWN else ""
        logger.warning("%s: %d of %d boxes dropped: %s%s", place, len(rows), len(boxes), shown, rest)
    return clipped, ~is_bad


def split_by_image(image_rows: np.ndarray, num_images: int) -> np.ndarray:
    """Return offsets (num_images + 1,): image i owns rows offsets[i] to offsets[i + 1] of its sorted objects."""
    counts = np.bincount(image_rows, minlength=num_images)
    return np.concatenate([[0], np.cumsum(counts)])
