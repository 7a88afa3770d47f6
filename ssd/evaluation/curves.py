"""Precision, recall and F1 over the score threshold, and AP by the rules of the metric.

Legend: C classes with background, D detections, N counted detections of one class, best first.
"""

from typing import NamedTuple

import numpy as np

from ssd.evaluation.matching import Matches, is_outside
from ssd.evaluation.tables import Tables

# Recalls at which VOC 2007 samples precision. Some are a rounding above k / 10 (0.30000000000000004), so that a recall
# of exactly 3 / 10 misses the fourth, as in published VOC 2007 figures.
_RECALLS_07 = np.linspace(0, 1, 11)
_RECALLS_COCO = np.linspace(0, 1, 101)


class Curve(NamedTuple):
    """scores (N,), precision (N,), recall (N,) after each detection; recall is nan where there is no object."""

    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean (N,) of precision and recall; nan where there is no object."""
        total = self.precision + self.recall
        return np.divide(2 * self.precision * self.recall, total, out=np.where(total > 0, 0.0, total), where=total > 0)

    def sample_f1(self, thresholds: np.ndarray) -> np.ndarray:
        """Return F1 of the detections that score above each of ``thresholds`` (T,); 0 where there is none."""
        return np.concatenate([[0.0], self.f1])[np.searchsorted(-self.scores, -thresholds, side="left")]

    def sample_precision(self, recalls: np.ndarray) -> np.ndarray:
        """Return the best precision (T,) at each of ``recalls`` (T,) or any higher one; 0 where there is none."""
        best = np.maximum.accumulate(self.precision[::-1])[::-1]
        return np.append(best, 0.0)[np.searchsorted(self.recall, recalls)]


class Operation(NamedTuple):
    """Precision, recall and F1 of the detections that score above ``threshold``; nan where there is no object."""

    threshold: float
    precision: float
    recall: float
    f1: float


def make_curve(scores: np.ndarray, is_hit: np.ndarray, num_objects: int) -> Curve:
    """Build a curve from detections (N,) in any order; equal scores keep theirs."""
    order = np.argsort(-scores, kind="stable")
    tp = np.cumsum(is_hit[order])
    recall = tp / num_objects if num_objects else np.full(len(tp), np.nan)
    return Curve(scores[order], tp / np.arange(1, len(tp) + 1), recall)


def class_curves(
    tables: Tables, is_hit: np.ndarray, counted: np.ndarray, num_objects: np.ndarray, labels: np.ndarray | None = None
) -> list[Curve]:
    """Return the curve of each class by label; that of the background is empty.

    ``is_hit`` (D,) are the true positives, ``counted`` (D,) these and the false ones, ``num_objects`` (C,) the numbers
    to find; ``labels`` (D,) replace those of the table.
    """
    labels = (tables.detections.labels if labels is None else labels)[counted]
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(1, len(num_objects)))
    columns = (np.split(column[counted][order], ends) for column in (tables.detections.scores, is_hit))
    return [make_curve(*rows) for rows in zip(*columns, num_objects.tolist(), strict=True)]


def average_precision(
    tables: Tables, is_hit: np.ndarray, counted: np.ndarray, num_objects: np.ndarray, labels: np.ndarray | None = None
) -> np.ndarray:
    """Return AP (C,) of ``class_curves`` by the rule of the metric; nan where there is no object."""
    curves = class_curves(tables, is_hit, counted, num_objects, labels)
    pairs = zip(curves, num_objects.tolist(), strict=True)
    return np.array([_curve_ap(curve, tables.metric) if num else np.nan for curve, num in pairs])


def matched_ap(tables: Tables, matches: Matches, area: tuple[float, float] | None = None) -> np.ndarray:
    """Return AP (C,) of the matches of an area; nan where there is no object."""
    ignored = tables.objects.is_ignored
    if area is not None:
        ignored = ignored | is_outside(tables.objects.areas, area)
    return average_precision(tables, matches.is_hit, ~matches.is_ignored, tables.count_objects(ignored))


def best_operation(curve: Curve) -> Operation:
    """Return the threshold of the highest F1, in the middle between the last score above and the first below it.

    Of equal F1 the highest threshold counts. It is nan without detections or objects.
    """
    ends = np.flatnonzero(np.append(curve.scores[1:] != curve.scores[:-1], True)[: len(curve.scores)])
    if not len(ends) or np.isnan(curve.recall).any():
        return Operation(np.nan, np.nan, np.nan if len(curve.recall) else 0.0, np.nan)
    best = int(ends[curve.f1[ends].argmax()])
    below = float(curve.scores[best + 1]) if best + 1 < len(curve.scores) else 0.0
    return _operation(curve, best, _short_between(below, float(curve.scores[best])))


def operation_at(curve: Curve, threshold: float) -> Operation:
    """Return the operation at a threshold; precision is nan if no detection scores above it."""
    count = int(np.searchsorted(-curve.scores, -threshold, side="left"))
    return _operation(curve, count - 1, threshold) if count else Operation(threshold, np.nan, 0.0, 0.0)


def _curve_ap(curve: Curve, metric: str) -> float:
    """Area under, or mean of 11 or 101 samples of, the best precision at a recall or any higher one."""
    if metric == "voc":
        best = np.maximum.accumulate(curve.precision[::-1])[::-1]
        return float(np.sum(np.diff(curve.recall, prepend=0.0) * best))
    return float(curve.sample_precision(_RECALLS_07 if metric == "voc07" else _RECALLS_COCO).mean())


def _operation(curve: Curve, row: int, threshold: float) -> Operation:
    return Operation(threshold, *(float(values[row]) for values in (curve.precision, curve.recall, curve.f1)))


def _short_between(low: float, high: float) -> float:
    """Middle of two scores with as few digits as possible, ``low`` included; also in float32 below ``high``."""
    middle = (low + high) / 2
    for digits in range(2, 9):
        rounded = round(middle, digits)
        if low <= rounded and np.float32(rounded) < high:
            return rounded
    return low
