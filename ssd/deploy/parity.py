"""Comparison of the detections of two detectors in the same images.

Detections of two detectors are a pair if class, box and score agree up to tolerances; pairs are formed closest first,
so that detections of equal score may come in any order. Both lists are sorted by score, so two pairs can only be
swapped if their scores differ by less than the tolerances; the largest such gap is measured.

Legend: N detections of the reference, M of the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch

from ssd.inference.detections import Detections
from ssd.structures.boxes import pairwise_iou

_ROUNDING = 1e-6  # assumed difference of scores where there are no pairs


class Tolerance(NamedTuple):
    """Largest differences of a pair: of any coordinate in pixels, and of the score."""

    box: float = 0.1
    score: float = 1e-3


class Cut(NamedTuple):
    """Limits of a detector: detections score above the threshold, and only the best of an image are kept."""

    score_threshold: float
    max_per_image: int


@dataclass(frozen=True)
class ImageParity:
    """Comparison of the detections in one image.

    Attributes:
        name: Name of the image.
        num_detections: Detections of the reference, N.
        num_matched: Number of pairs.
        num_missing: Detections of the reference alone, without those at the cut.
        num_extra: Detections of the other alone, without those at the cut.
        num_at_cut: Detections of one alone that the other may have dropped by rounding, given their low score.
        top_score: Highest score of the missing and extra ones, 0 if there are none.
        box_difference: Largest difference of a coordinate in a pair, in pixels.
        score_difference: Largest difference of the scores of a pair.
        swapped_gap: Largest difference in score of two detections that the other has in opposite order.
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
        """Whether both results are the same, up to the tolerances and the cut."""
        return self.num_missing == self.num_extra == 0


@dataclass(frozen=True)
class Parity:
    """Comparison of the detections in several images."""

    images: list[ImageParity]
    tolerance: Tolerance

    @property
    def different(self) -> list[ImageParity]:
        """The images with another result."""
        return [image for image in self.images if not image.is_same]

    def totals(self) -> dict[str, Any]:
        """Return the sums of counts, the largest differences, and the names of the images with another result."""
        sums = ("num_detections", "num_matched", "num_at_cut")
        maxima = ("box_difference", "score_difference", "swapped_gap")
        return {
            **{name: sum(getattr(image, name) for image in self.images) for name in sums},
            **{name: max((getattr(image, name) for image in self.images), default=0.0) for name in maxima},
            "different": [image.name for image in self.different],
        }


def compare_all(
    reference: Sequence[Detections],
    other: Sequence[Detections],
    cut: Cut,
    tolerance: Tolerance = Tolerance(),  # noqa: B008  # frozen
) -> Parity:
    """Compare the detections of two detectors, one result of each per image."""
    images = [compare_image(one, two, cut, tolerance) for one, two in zip(reference, other, strict=True)]
    return Parity(images, tolerance)


def compare_image(reference: Detections, other: Detections, cut: Cut, tolerance: Tolerance) -> ImageParity:
    """Compare two results of one image."""
    rows, columns = match_close(reference, other, tolerance)
    box_difference = np.abs(reference.boxes[rows] - other.boxes[columns]).max(initial=0)
    score_difference = np.abs(reference.scores[rows] - other.scores[columns]).max(initial=0)
    margin = max(float(score_difference), _ROUNDING)
    missing = _scores_without(reference, rows, _lowest_score(other, cut) + margin)
    extra = _scores_without(other, columns, _lowest_score(reference, cut) + margin)
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
    """Pair detections of one class within the tolerances, closest boxes first.

    Returns:
        Indices in ``reference``, ascending, and in ``other``.
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
    """Return the share of the detections above ``score_threshold``, of both, that have a partner.

    Partners have the same class and an IoU of at least 0.5. Without such detections the result is nan.
    """
    num_pairs, num_detections = 0, 0
    for one, two in zip(reference, other, strict=True):
        one, two = one.filter(score_threshold), two.filter(score_threshold)
        num_pairs += len(match_overlapping(one, two)[0])
        num_detections += len(one) + len(two)
    return 2 * num_pairs / num_detections if num_detections else float("nan")


def largest_swapped_gap(scores: np.ndarray, positions: np.ndarray) -> float:
    """Return the largest difference in score of two detections in opposite order in the other list.

    Args:
        scores: (K,) descending.
        positions: (K,) positions of the same detections in the other list.
    """
    is_swapped = np.triu(positions[:, None] > positions)
    return float((scores[:, None] - scores)[is_swapped].max(initial=0))


def _lowest_score(detections: Detections, cut: Cut) -> float:
    """Return the score below which a detector drops detections of this image."""
    is_full = len(detections) >= cut.max_per_image
    return max(cut.score_threshold, float(detections.scores.min(initial=np.inf))) if is_full else cut.score_threshold


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
    """Return the scores above the cut of detections without a partner."""
    scores = np.delete(detections.scores, matched)
    return scores[scores > cut]
