"""Mistakes in a dataset: the checks that all formats share, and the policy that decides. N boxes of a dataset."""

import difflib
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssd.structures.class_names import BACKGROUND
from ssd.utils.errors import DatasetError, join_some, shorten
from ssd.utils.files import count_others, describe_others
from ssd.utils.image import IMAGE_SUFFIXES

logger = logging.getLogger(__name__)

MAX_COORDINATE = 1e9  # pixels; a larger one is no coordinate, and would overflow in later arithmetic
CLIPPED = "clipped to the image"
MAX_RELATIVE = 2  # fractions of rounded boxes, and of boxes that leave the image, stay below
_NO_IMAGE, _OTHER_SUFFIX = "annotations without image", "files with other suffixes"
_SHOWN = 5  # mistakes that a warning names
_ROUNDING = 1  # pixel by which a box may leave its image without a note: tools count from 0 or from 1


@dataclass(frozen=True)
class Tally:
    """Number of the files or entries of a dataset that are not images with their annotations; 0 = there are none."""

    kind: str
    count: int
    num_objects: int = 0  # in annotations that cannot be used
    example: str = ""

    @property
    def is_loss(self) -> bool:
        """Whether something is not read that was perhaps meant to be."""
        return self.kind in (_NO_IMAGE, _OTHER_SUFFIX)

    def __str__(self) -> str:
        objects = f" ({self.num_objects} objects)" if self.num_objects else ""
        return f"{self.count} {self.kind}{objects}{self.example and f': {self.example}'}"


def tally_unmatched(num_images: int, lost: Sequence[int], example: str, files: Iterable[str] = ()) -> list[Tally]:
    """Count images without annotation, annotations without image, and those of ``files`` that have other suffixes.

    ``lost`` has the number of objects in each annotation without image; ``example`` is one of these, for messages.
    """
    others = [name for name in files if not name.lower().endswith(IMAGE_SUFFIXES)]
    return [
        Tally("images without annotation", num_images),
        Tally(_NO_IMAGE, len(lost), sum(lost), example),
        Tally(_OTHER_SUFFIX, count_others(others).total(), example=describe_others(others)),
    ]


class ErrorPolicy:
    """Decide about the mistakes that a dataset finds while it is built. This one raises the first of them."""

    reads_headers = False  # compare every annotated size with the header of the image
    wants_notes = False  # ``note`` gets every bad box; without it, one warning counts them

    def reject(self, error: DatasetError) -> None:
        """Raise the error, or return to leave out the object, annotation or image that it names."""
        raise error

    def note(self, error: DatasetError) -> None:
        """Take a mistake that is corrected or left out under every policy."""

    def summary(self) -> str:
        """Return the mistakes that were skipped, counted by kind; empty = none."""
        return ""

    def explain(self, error: DatasetError) -> DatasetError:
        """Return the error with the mistakes that were skipped before it, which may be its reason."""
        summary = self.summary()
        if not summary or summary in str(error):
            return error
        return type(error)(f"{error}. {summary}", path=error.path, field=error.field, kind=error.kind)


class SkipErrors(ErrorPolicy):
    """Count the mistakes by kind, and keep the first ones and the first of each kind."""

    reads_headers = True

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: list[DatasetError] = []

    @property
    def count(self) -> int:
        """Number of mistakes."""
        return self.counts.total()

    def reject(self, error: DatasetError) -> None:
        """Count the error."""
        self.counts[error.kind] += 1
        if self.counts[error.kind] == 1 or len(self.first) < _SHOWN:
            self.first.append(error)

    def summary(self) -> str:
        """Return the mistakes that were skipped, counted by kind; empty = none."""
        if not self.count:
            return ""
        kinds = ", ".join(f"{kind}: {count}" for kind, count in self.counts.most_common())
        named = "; ".join(map(str, self.first)) + ("; ..." if self.count > len(self.first) else "")
        return f"{self.count} mistakes skipped ({kinds}): {named}"

    def warn(self, place: str) -> None:
        """Log the summary, if there is one."""
        if self.count:
            logger.warning("%s: %s", place, self.summary())


RAISE_ERRORS = ErrorPolicy()


def make_policy(on_error: str) -> ErrorPolicy:
    """Return the policy of DATASETS.ON_ERROR."""
    return SkipErrors() if on_error == "skip" else RAISE_ERRORS


def mistake_at(path: Path, field: str, problem: object, kind: str = "malformed annotation") -> DatasetError:
    """Return the error of a mistake at a place (``field``) of a file."""
    return DatasetError(f"{path}: {field}: {problem}", path=path, field=field, kind=kind)


def check_class_names(names: Sequence[Any], place: object) -> tuple[str, ...]:
    """Return ``names`` with the background in front, so that the index is the label. ``place`` is for the error."""
    if not names:
        raise DatasetError(f"{place}: no class names; at least one object or a CLASSES list is needed")
    for name in names:
        if not isinstance(name, str):
            words = " (YAML reads no, yes, off and on as truth values)" if isinstance(name, bool) else ""
            raise DatasetError(f"{place}: class names are strings, got {shorten(name)}{words}; put it in quotes")
        if name == BACKGROUND:
            raise DatasetError(f"{place}: remove {BACKGROUND!r}, label 0 is always the background")
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise DatasetError(f"{place}: class names must differ, but these occur more than once: {', '.join(repeated)}")
    return (BACKGROUND, *names)


def describe_similar(names: Sequence[str]) -> str:
    """Return a sentence about class names that differ only in upper and lower case or in spaces; empty = none do."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_folded(name), []).append(repr(name))
    similar = "; ".join(" and ".join(group) for group in groups.values() if len(group) > 1)
    return similar and f"class names that differ only in case or spaces are different classes: {similar}"


def _folded(name: str) -> str:
    return "".join(name.split()).casefold()


def describe_unknown_class(name: str, class_names: Sequence[str]) -> str:
    """Return the message for an object whose class is not among ``class_names``, background first."""
    close = [known for known in class_names[1:] if _folded(known) == _folded(name)]
    close += difflib.get_close_matches(name, class_names[1:], n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    known = join_some(class_names[1:], 20)
    return f"unknown class {shorten(name)}; {hint}Known classes: {known}. Fix the annotation or CLASSES"


def read_number(text: str, name: str) -> float:
    """Return the number in a text. ``name`` is for the ValueError of a text that is no finite coordinate."""
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not abs(value) <= MAX_COORDINATE:  # false for nan
        raise ValueError(f"{name} is {shorten(text) if text else 'missing'}; it must be a number")
    return value


def check_unit(boxes: np.ndarray, path: Path, *, are_fractions: bool = False) -> None:
    """Raise DatasetError if the boxes of a file, (N, 4) as written, are fractions, not pixels, or the opposite."""
    largest = np.abs(boxes).max(initial=0)
    if are_fractions and largest > MAX_RELATIVE:
        problem = f"coordinates go up to {largest:g}, but with the columns ImageID and LabelName they are fractions"
        raise mistake_at(path, "boxes", f"{problem} of the image; name the columns filename and class for pixels")
    if not are_fractions and largest <= MAX_RELATIVE and (boxes % 1 != 0).any():
        problem = f"all coordinates are fractions, at most {largest:g}, and pixels are expected; multiply those in x "
        raise mistake_at(path, "boxes", problem + "by the width of the image, and those in y by its height")


def check_boxes(boxes: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Clip boxes (N, 4), corner form in pixels, to images of ``sizes`` (N, 2), and find those that cannot be learnt.

    Return the clipped boxes, float32 (N, 4); bool (N,), false for the boxes to drop; and the problem of each row that
    has one: why it is dropped, or CLIPPED if it loses more than a pixel.
    """
    limit = np.tile(sizes, 2)
    clipped = np.clip(boxes, 0, limit).astype(np.float32)
    extent, visible = boxes[:, 2:] - boxes[:, :2], clipped[:, 2:] - clipped[:, :2]
    leaves = ((boxes < -_ROUNDING) | (boxes > limit + _ROUNDING)).any(axis=1)
    keep = np.asarray((extent > 0).all(axis=1) & (visible > 0).all(axis=1))
    problems = {}
    for row in np.flatnonzero(leaves | ~keep).tolist():
        if keep[row]:
            problems[row] = CLIPPED
        elif (extent[row] < 0).any():
            problems[row] = "inverted"
        else:
            problems[row] = "of zero area" if (extent[row] <= 0).any() else "outside the image"
    return clipped, keep, problems
