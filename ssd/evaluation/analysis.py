"""Analysis of the errors of a detector on one dataset."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssd.evaluation.curves import Curve, Operation, best_operation, class_curves, make_curve, matched_ap, operation_at
from ssd.evaluation.error_kinds import ErrorSplit, split_errors
from ssd.evaluation.inputs import EvaluationDataset, read_predictions
from ssd.evaluation.matching import ImageErrors, Matches, confusion_matrix, match, rank_images
from ssd.evaluation.metrics import resolve_metric
from ssd.evaluation.tables import Tables, make_tables
from ssd.structures import Container

_MIN_OBJECTS = 10  # of a class with a threshold of its own
# Least and greatest area in square pixels, both included: COCO's.
AREAS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


@dataclass(frozen=True)
class Analysis:
    """Quality and errors of the detections of a dataset at IoU 0.5. Lists are by label."""

    tables: Tables
    matches: Matches
    # (C,) at IoU 0.5, nan where there is no object: that of the VOC metrics, and for COCO its mean is AP50
    ap: np.ndarray
    ap75: np.ndarray  # (C,) at IoU 0.75
    ap_of_area: dict[str, np.ndarray]  # (C,) at IoU 0.5 for small, medium and large objects
    curves: list[Curve]  # of each class; that of the background is empty
    overall_curve: Curve  # of all detections
    best: list[Operation]  # threshold of the highest F1 of each class
    overall_best: Operation  # that of all detections
    at_overall_best: list[Operation]  # each class at ``threshold``
    errors: ErrorSplit
    threshold: float  # that of ``overall_best``; 0 if that is nan
    confusion: np.ndarray  # (C, C) at ``threshold``, see ``confusion_matrix``

    def worst_images(self, count: int) -> list[ImageErrors]:
        """Return the images with most errors at ``threshold``, see ``rank_images``."""
        return rank_images(self.tables, self.matches, self.threshold, count)[0]

    def best_images(self, count: int) -> list[ImageErrors]:
        """Return the images with fewest errors at ``threshold`` that are not among as many worst."""
        return rank_images(self.tables, self.matches, self.threshold, count)[1]


def analyse(dataset: EvaluationDataset, predictions: Sequence[Container], *, metric: str = "auto") -> Analysis:
    """Analyse the errors of a detector."""
    metric = resolve_metric(metric, dataset)
    tables = make_tables(dataset, read_predictions(dataset, predictions), metric)
    matches, num_objects = match(tables), tables.count_objects()
    counted = ~matches.is_ignored
    scores, is_hit = tables.detections.scores[counted], matches.is_hit[counted]
    curves = class_curves(tables, matches.is_hit, counted, num_objects)
    overall_curve = make_curve(scores, is_hit, int(num_objects.sum()))
    overall_best = best_operation(overall_curve)
    threshold = 0.0 if np.isnan(overall_best.threshold) else overall_best.threshold
    return Analysis(
        tables=tables,
        matches=matches,
        ap=matched_ap(tables, matches),
        ap75=matched_ap(tables, match(tables, 0.75)),
        ap_of_area={name: matched_ap(tables, match(tables, area=area), area) for name, area in AREAS.items()},
        curves=curves,
        overall_curve=overall_curve,
        best=[best_operation(curve) for curve in curves],
        overall_best=overall_best,
        at_overall_best=[operation_at(curve, threshold) for curve in curves],
        errors=split_errors(tables, matches),
        threshold=threshold,
        confusion=confusion_matrix(tables, matches, threshold),
    )


def find_score_thresholds(
    dataset: EvaluationDataset, predictions: Sequence[Container], *, metric: str = "auto"
) -> list[float] | None:
    """Return the score threshold of the highest F1 at IoU 0.5 by label; that of the background is of all classes.

    A class with fewer than 10 objects has that too. None if no object was found.
    """
    tables = make_tables(dataset, read_predictions(dataset, predictions), resolve_metric(metric, dataset))
    matches, num_objects = match(tables), tables.count_objects()
    counted, is_hit = ~matches.is_ignored, matches.is_hit
    overall = best_operation(make_curve(tables.detections.scores[counted], is_hit[counted], int(num_objects.sum())))
    if not overall.f1 > 0:  # also nan
        return None
    best = map(best_operation, class_curves(tables, is_hit, counted, num_objects))
    has_own = [count >= _MIN_OBJECTS for count in num_objects]
    return [own.threshold if has and own.f1 > 0 else overall.threshold for own, has in zip(best, has_own, strict=True)]
