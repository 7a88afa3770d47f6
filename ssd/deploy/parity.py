"""Comparison of the detections of two detectors in the same images.

Detections of two detectors are a pair if class, box and score agree up to tolerances; pairs are formed closest first,
so that detections of equal score may come in any order. N detections of the reference, M of the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch

from ssd.inference.detections import Detections
from ssd.structures.boxes import pairwise_iou

_BOX_TOLERANCE, _SCORE_TOLERANCE = 0.1, 1e-3  # of a pair: any coordinate in pixels, and the score
_ROUNDING = 1e-6  # assumed difference of scores where there are no pairs


class Cut(NamedTuple):
    """Limits of a detector: detections score above the threshold, and only the best of an image are kept."""

    score_threshold: float
    max_per_image: int


@dataclass(frozen=True)
class ImageParity:
    """Comparison of the detections in one image."""

    name: str
    num_detections: int  # of the reference, N
    num_matched: int  # pairs
    num_missing: int  # of the reference alone, without those so near the cut that rounding decides
    num_extra: int  # of the other alone, the same
    top_score: float  # highest score of the missing and extra ones, 0 if there are none
    box_difference: float  # largest of a coordinate in a pair, in pixels
    score_difference: float  # largest of a pair

    @property
    def is_same(self) -> bool:
        """Whether both results are the same, up to the tolerances and the cut."""
        return self.num_missing == self.num_extra == 0


@dataclass(frozen=True)
class ParityCheck:
    """Comparison of an exported detector with the model in several images."""

    name: str
    batch_size: int
    images: list[ImageParity]

    @property
    def different(self) -> list[ImageParity]:
        """Images with another result."""
        return [image for image in self.images if not image.is_same]

    def totals(self) -> dict[str, Any]:
        """Return the sums of counts, the largest differences, and the names of the images with another result."""
        return {
            "num_detections": sum(image.num_detections for image in self.images),
            "num_matched": sum(image.num_matched for image in self.images),
            "box_difference": max(image.box_difference for image in self.images),
            "score_difference": max(image.score_difference for image in self.images),
            "different": [image.name for image in self.different],
        }


def compare_all(reference: Sequence[Detections], other: Sequence[Detections], cut: Cut) -> list[ImageParity]:
    """Compare the detections of two detectors, one result of each per image."""
    return [compare_image(one, two, cut) for one, two in zip(reference, other, strict=True)]


def compare_image(reference: Detections, other: Detections, cut: Cut) -> ImageParity:
    """Compare two results of one image."""
    rows, columns = match_close(reference, other)
    box_difference = np.abs(reference.boxes[rows] - other.boxes[columns]).max(initial=0)
    score_difference = np.abs(reference.scores[rows] - other.scores[columns]).max(initial=0)
    margin = max(float(score_difference), _ROUNDING)
    missing = _scores_without(reference, rows, _lowest_score(other, cut) + margin)
    extra = _scores_without(other, columns, _lowest_score(reference, cut) + margin)
    return ImageParity(
        name=reference.name,
        num_detections=len(reference),
        num_matched=len(rows),
        num_missing=len(missing),
        num_extra=len(extra),
        top_score=float(max(chain(missing, extra), default=0)),
        box_difference=float(box_difference),
        score_difference=float(score_difference),
    )


def match_close(reference: Detections, other: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Pair detections of one class within the tolerances, closest boxes first; return indices of both."""
    is_allowed = reference.labels[:, None] == other.labels  # (N, M)
    is_allowed &= np.abs(reference.scores[:, None] - other.scores) <= _SCORE_TOLERANCE
    rows, columns = is_allowed.nonzero()
    distances = np.abs(reference.boxes[rows] - other.boxes[columns]).max(axis=1, initial=0)
    return _pair(rows, columns, distances, _BOX_TOLERANCE)


def match_overlapping(reference: Detections, other: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Pair detections of one class whose IoU is at least 0.5, best overlap first; see ``match_close``."""
    ious = pairwise_iou(torch.from_numpy(reference.boxes), torch.from_numpy(other.boxes)).numpy()
    rows, columns = (reference.labels[:, None] == other.labels).nonzero()
    return _pair(rows, columns, 1 - ious[rows, columns], 0.5)


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


def _lowest_score(detections: Detections, cut: Cut) -> float:
    """Return the score below which a detector drops detections of this image."""
    is_full = len(detections) >= cut.max_per_image
    return max(cut.score_threshold, float(detections.scores.min(initial=np.inf))) if is_full else cut.score_threshold


def _pair(rows: np.ndarray, columns: np.ndarray, distances: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Choose from candidate pairs, (K,) each, those within the limit, the closest first; rows ascend in the result."""
    order = np.argsort(distances, kind="stable")
    row_to_column: dict[int, int] = {}
    for index in order[distances[order] <= limit]:
        row, column = int(rows[index]), int(columns[index])
        if row not in row_to_column and column not in row_to_column.values():
            row_to_column[row] = column
    pairs = np.array(sorted(row_to_column.items()), dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _scores_without(detections: Detections, matched: np.ndarray, cut: float) -> np.ndarray:
    """Return the scores above the cut of detections without a partner."""
    scores = np.delete(detections.scores, matched)
    return scores[scores > cut]
