"""Precision, recall and F1 of each class as functions of the score threshold, and the AP that the metric makes of them.

Legend: C classes with background, D detections, N detections of one class that count, best first.
"""

from typing import NamedTuple

import numpy as np

from ssd.evaluation.analysis.matching import Matches, is_outside
from ssd.evaluation.analysis.tables import Tables
from ssd.evaluation.voc import calc_detection_voc_ap

_RECALLS_COCO = np.linspace(0, 1, 101)


class Curve(NamedTuple):
    """A class, or all of them, after each of its detections: scores (N,), precision (N,), recall (N,).

    recall is nan where there is no object to find.
    """

    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean (N,) of precision and recall; nan where there is no object to find."""
        total = self.precision + self.recall
        return np.divide(2 * self.precision * self.recall, total, out=np.where(total > 0, 0.0, total), where=total > 0)


class Operation(NamedTuple):
    """Detections that score above ``threshold``: their precision, recall and F1; nan where nothing can be found."""

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


def class_curves(tables: Tables, matches: Matches) -> list[Curve]:
    """Return the curve of each class by label; that of the background is empty."""
    counted = ~matches.is_ignored
    num_objects = tables.count_objects()
    labels, scores, hits = (a[counted] for a in (tables.detections.labels, tables.detections.scores, matches.is_hit))
    return _make_curves(labels, scores, hits, num_objects)


def average_precision(
    labels: np.ndarray, scores: np.ndarray, is_hit: np.ndarray, num_objects: np.ndarray, *, metric: str
) -> np.ndarray:
    """Return AP (C,) of detections that count, at one IoU threshold, by the sampling of the metric.

    Args:
        labels: (D,).
        scores: (D,).
        is_hit: (D,).
        num_objects: (C,) to find.
        metric: voc07, voc or coco.

    Returns:
        nan where there is no object to find.
    """
    curves = _make_curves(labels, scores, is_hit, num_objects)
    if metric == "coco":
        return np.array([_coco_ap(curve) if num else np.nan for curve, num in zip(curves, num_objects, strict=True)])
    recalls = [curve.recall if num else None for curve, num in zip(curves, num_objects, strict=True)]
    return calc_detection_voc_ap([curve.precision for curve in curves], recalls, use_07_metric=metric == "voc07")


def matched_ap(tables: Tables, matches: Matches, area: tuple[float, float] | None = None) -> np.ndarray:
    """Return AP (C,) of matches, which were made for this area; nan where there is no object to find."""
    counted, objects = ~matches.is_ignored, tables.objects
    outside = np.zeros(len(objects.areas), dtype=bool)
    if area is not None:
        outside = is_outside(objects.areas, area)
    labels, scores, is_hit = tables.detections.labels, tables.detections.scores, matches.is_hit
    num_objects = tables.count_objects(objects.is_ignored | outside)
    return average_precision(labels[counted], scores[counted], is_hit[counted], num_objects, metric=tables.metric)


def best_operation(curve: Curve) -> Operation:
    """Return the threshold of the highest F1, in the middle between the last score above and the first below it.

    Of equal F1 the highest threshold counts. Without a detection, or where nothing can be found, it is nan.
    """
    ends = np.flatnonzero(np.append(curve.scores[1:] != curve.scores[:-1], True)[: len(curve.scores)])
    if not len(ends) or np.isnan(curve.recall).any():
        return Operation(np.nan, np.nan, np.nan if len(curve.recall) else 0.0, np.nan)
    best = ends[curve.f1[ends].argmax()]
    below = float(curve.scores[best + 1]) if best + 1 < len(curve.scores) else 0.0
    return Operation(_short_between(below, float(curve.scores[best])), *_at(curve, int(best)))


def operation_at(curve: Curve, threshold: float) -> Operation:
    """Return what detections that score above a threshold are worth; precision is nan if there are none."""
    count = int(np.searchsorted(-curve.scores, -threshold, side="left"))
    return Operation(threshold, *(_at(curve, count - 1) if count else (np.nan, 0.0, 0.0)))


def sample_f1(curve: Curve, thresholds: np.ndarray) -> np.ndarray:
    """Return F1 of the detections that score above each of ``thresholds`` (T,); 0 where there is none."""
    counts = np.searchsorted(-curve.scores, -thresholds, side="left")
    return np.concatenate([[0.0], curve.f1])[counts]


def sample_precision(curve: Curve, recalls: np.ndarray) -> np.ndarray:
    """Return the best precision (T,) at each of ``recalls`` (T,) or any higher one; 0 where there is none."""
    best = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return np.append(best, 0.0)[np.searchsorted(curve.recall, recalls)]


def _at(curve: Curve, row: int) -> tuple[float, float, float]:
    return float(curve.precision[row]), float(curve.recall[row]), float(curve.f1[row])


def _short_between(low: float, high: float) -> float:
    """The middle of two scores with as few digits as lie between them, ``low`` included; also as float32 below high."""
    middle = (low + high) / 2
    for digits in range(2, 9):
        rounded = round(middle, digits)
        if low <= rounded and np.float32(rounded) < high:
            return rounded
    return low


def _make_curves(labels: np.ndarray, scores: np.ndarray, is_hit: np.ndarray, num_objects: np.ndarray) -> list[Curve]:
    """The curve of each label."""
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(1, len(num_objects)))
    columns = np.split(scores[order], ends), np.split(is_hit[order], ends)
    return [make_curve(*rows) for rows in zip(*columns, num_objects.tolist(), strict=True)]


def _coco_ap(curve: Curve) -> float:
    return float(sample_precision(curve, _RECALLS_COCO).mean())
