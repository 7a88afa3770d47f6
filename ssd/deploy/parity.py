"""Do two detectors find the same in an image?

A detection of one and a detection of the other are a pair when they agree in class, box and score, up to tolerances.
Pairs are formed closest first, so detections of equal score may stand in any order. Otherwise the order needs no check
of its own: both lists are sorted by score, so two pairs can only stand crosswise if their scores differ by less than
the tolerances allow; the largest such gap is measured.

Legend: N detections of the reference, M of the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch

from ssd.inference.detections import Detections
from ssd.structures.boxes import pairwise_iou

_ROUNDING = 1e-6  # of a score, where no pair shows how far scores differ


class Tolerance(NamedTuple):
    """How far two detections of the same thing may lie apart: any coordinate in pixels, and the score."""

    box: float = 0.1
    score: float = 1e-3


class Cut(NamedTuple):
    """What a detector leaves out.

    Attributes:
        score_threshold: detections that do not score above it.
        max_per_image: all but so many of an image.
    """

    score_threshold: float
    max_per_image: int


@dataclass(frozen=True)
class ImageParity:
    """Two results of one image.

    Attributes:
        name: of the image.
        num_detections: N.
        num_matched: pairs.
        num_missing: detections of the reference alone, but for those at the cut.
        num_extra: detections of the other alone, but for those at the cut.
        num_at_cut: detections of one alone whose score is so low that the other may have left them out by rounding.
        top_score: the highest score among the missing and extra ones, 0 without any.
        box_difference: largest difference of a coordinate between a pair, in pixels.
        score_difference: largest difference of the scores of a pair.
        swapped_gap: largest difference in score between two detections that the other has in opposite order.
    """

    name: str
    num_detections: int
    num_matched: int
    num_missing: int
    num_extra: int
    num_at_cut: int
    top_score: float
    box_difference: float
    score_difference: float
    swapped_gap: float

    @property
    def is_same(self) -> bool:
        """Whether both results are the same, up to tolerances and the cut."""
        return self.num_missing == self.num_extra == 0


@dataclass(frozen=True)
class Parity:
    """Two results of several images.

    Attributes:
        images: image by image.
        tolerance: of the pairs.
    """

    images: list[ImageParity]
    tolerance: Tolerance

    @property
    def num_detections(self) -> int:
        """Detections of the reference."""
        return sum(image.num_detections for image in self.images)

    @property
    def num_matched(self) -> int:
        """Pairs."""
        return sum(image.num_matched for image in self.images)

    @property
    def num_at_cut(self) -> int:
        """See ``ImageParity``."""
        return sum(image.num_at_cut for image in self.images)

    @property
    def box_difference(self) -> float:
        """See ``ImageParity``."""
        return max((image.box_difference for image in self.images), default=0.0)

    @property
    def score_difference(self) -> float:
        """See ``ImageParity``."""
        return max((image.score_difference for image in self.images), default=0.0)

    @property
    def swapped_gap(self) -> float:
        """See ``ImageParity``."""
        return max((image.swapped_gap for image in self.images), default=0.0)

    @property
    def different(self) -> list[ImageParity]:
        """The images with another result."""
        return [image for image in self.images if not image.is_same]


def compare_all(
    reference: Sequence[Detections],
    other: Sequence[Detections],
    cut: Cut,
    tolerance: Tolerance = Tolerance(),  # noqa: B008  # frozen
) -> Parity:
    """Compare the results of the same images, one of each detector an image."""
    images = [compare_image(one, two, cut, tolerance) for one, two in zip(reference, other, strict=True)]
    return Parity(images, tolerance)


def compare_image(reference: Detections, other: Detections, cut: Cut, tolerance: Tolerance) -> ImageParity:
    """Compare two results of one image."""
    rows, columns = match_close(reference, other, tolerance)
    box_difference = np.abs(reference.boxes[rows] - other.boxes[columns]).max(initial=0)
    score_difference = np.abs(reference.scores[rows] - other.scores[columns]).max(initial=0)
    margin = max(float(score_difference), _ROUNDING)
    missing = _scores_without(reference, rows, lowest_score(other, cut) + margin)
    extra = _scores_without(other, columns, lowest_score(reference, cut) + margin)
    num_alone = len(reference) + len(other) - 2 * len(rows)
    return ImageParity(
        name=reference.name,
        num_detections=len(reference),
        num_matched=len(rows),
        num_missing=len(missing),
        num_extra=len(extra),
        num_at_cut=num_alone - len(missing) - len(extra),
        top_score=float(max(chain(missing, extra), default=0)),
        box_difference=float(box_difference),
        score_difference=float(score_difference),
        swapped_gap=largest_swapped_gap(reference.scores[rows], columns),
    )


def match_close(reference: Detections, other: Detections, tolerance: Tolerance) -> tuple[np.ndarray, np.ndarray]:
    """Pair detections of one class that lie within the tolerances, closest boxes first.

    Returns:
        Their indices in ``reference``, ascending, and in ``other``.
    """
    is_allowed = reference.labels[:, None] == other.labels  # (N, M)
    is_allowed &= np.abs(reference.scores[:, None] - other.scores) <= tolerance.score
    return _match(
        is_allowed,
        lambda row, column: np.abs(reference.boxes[row] - other.boxes[column]).max(axis=1, initial=0),
        tolerance.box,
    )


def match_overlapping(
    reference: Detections, other: Detections, iou_threshold: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Pair detections of one class whose IoU is at least ``iou_threshold``, best overlap first; see ``match_close``."""
    ious = pairwise_iou(torch.from_numpy(reference.boxes), torch.from_numpy(other.boxes)).numpy()
    is_allowed = reference.labels[:, None] == other.labels
    return _match(is_allowed, lambda row, column: 1 - ious[row, column], 1 - iou_threshold)


def agreement(reference: Sequence[Detections], other: Sequence[Detections], score_threshold: float = 0.5) -> float:
    """Measure how far two detectors agree in what they are sure of, where they are not meant to be equal.

    Returns:
        Twice the pairs (same class, IoU of at least 0.5) among the detections that score above ``score_threshold``,
        over the number of these detections; nan if there are none.
    """
    num_pairs, num_detections = 0, 0
    for one, two in zip(reference, other, strict=True):
        one, two = one.filter(score_threshold), two.filter(score_threshold)
        num_pairs += len(match_overlapping(one, two)[0])
        num_detections += len(one) + len(two)
    return 2 * num_pairs / num_detections if num_detections else float("nan")


def lowest_score(detections: Detections, cut: Cut) -> float:
    """Return the score below which a detector leaves out detections of this image."""
    is_full = len(detections) >= cut.max_per_image
    return max(cut.score_threshold, float(detections.scores.min(initial=np.inf))) if is_full else cut.score_threshold


def largest_swapped_gap(scores: np.ndarray, positions: np.ndarray) -> float:
    """Return the largest difference in score between two detections whose positions are the other way round.

    Args:
        scores: (K,) descending.
        positions: (K,) of the same detections in the other list.
    """
    is_swapped = np.triu(positions[:, None] > positions)
    return float((scores[:, None] - scores)[is_swapped].max(initial=0))


def _match(
    is_allowed: np.ndarray, distance: Callable[[np.ndarray, np.ndarray], np.ndarray], limit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pair rows with columns where ``is_allowed`` (N, M) and the distance is within the limit, closest first."""
    rows, columns = is_allowed.nonzero()
    distances = distance(rows, columns)
    order = np.argsort(distances, kind="stable")
    partners: dict[int, int] = {}
    taken: set[int] = set()
    for index in order[distances[order] <= limit]:
        row, column = int(rows[index]), int(columns[index])
        if row not in partners and column not in taken:
            partners[row] = column
            taken.add(column)
    matched = sorted(partners)
    return np.array(matched, dtype=np.int64), np.array([partners[row] for row in matched], dtype=np.int64)


def _scores_without(detections: Detections, matched: np.ndarray, cut: float) -> np.ndarray:
    """Scores of the detections that have no partner and are above the cut."""
    scores = np.delete(detections.scores, matched)
    return scores[scores > cut]
