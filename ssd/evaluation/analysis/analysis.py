"""Where a detector fails: all analyses of one dataset together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssd.evaluation.analysis.calibration import Calibration, calibrate
from ssd.evaluation.analysis.confusion import confusion_matrix
from ssd.evaluation.analysis.curves import (
    Curve,
    Operation,
    best_operation,
    class_curves,
    make_curve,
    matched_ap,
    operation_at,
)
from ssd.evaluation.analysis.errors import ErrorSplit, split_errors
from ssd.evaluation.analysis.images import ImageErrors, worst_images
from ssd.evaluation.analysis.matching import Matches, match
from ssd.evaluation.analysis.tables import Tables, make_tables
from ssd.evaluation.inputs import EvaluationDataset, read_predictions
from ssd.evaluation.metrics import resolve_metric
from ssd.structures import Container

# Least and greatest area in square pixels, both included: COCO's.
AREAS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


@dataclass(frozen=True)
class Analysis:
    """What the detections of a dataset are worth, and what is wrong with them, at IoU 0.5.

    Attributes:
        tables: detections and objects.
        matches: which detection finds which object.
        ap: (C,) AP at IoU 0.5 by label, nan where there is no object to find. For the VOC metrics it is that of the
            evaluation, for COCO its mean is the AP50.
        ap75: (C,) the same at IoU 0.75.
        ap_of_area: the same at IoU 0.5 for small, medium and large objects.
        curves: by label; that of the background is empty.
        overall_curve: all classes as one, under one threshold.
        best: by label, the threshold of the highest F1.
        overall_best: the one threshold for all classes of the highest F1.
        at_overall_best: by label, what each class is worth at ``threshold``.
        errors: their kinds and costs.
        calibration: of all detections.
        class_calibration: by label.
        threshold: that of ``overall_best``; 0 where that has none.
        confusion: (C, C) at ``threshold``, see ``confusion_matrix``.
    """

    tables: Tables
    matches: Matches
    ap: np.ndarray
    ap75: np.ndarray
    ap_of_area: dict[str, np.ndarray]
    curves: list[Curve]
    overall_curve: Curve
    best: list[Operation]
    overall_best: Operation
    at_overall_best: list[Operation]
    errors: ErrorSplit
    calibration: Calibration
    class_calibration: list[Calibration]
    threshold: float
    confusion: np.ndarray

    def worst_images(self, count: int) -> list[ImageErrors]:
        """Return the images with most errors at ``threshold``, see the function of this name."""
        return worst_images(self.tables, self.matches, self.threshold, count)


def analyse(dataset: EvaluationDataset, predictions: Sequence[Container], *, metric: str = "auto") -> Analysis:
    """Find out where a detector fails.

    Args:
        dataset: what was predicted.
        predictions: as for ``evaluate``.
        metric: likewise; its rules say which detection finds which object, and how a curve becomes an AP.

    Raises:
        ConfigError: the metric does not exist or does not fit the dataset.
        ValueError: the predictions do not fit the dataset.
    """
    metric = resolve_metric(metric, dataset)
    return _analyse_tables(make_tables(dataset, read_predictions(dataset, predictions), metric))


def _analyse_tables(tables: Tables) -> Analysis:
    matches = match(tables)
    curves = class_curves(tables, matches)
    counted = ~matches.is_ignored
    labels, scores, is_hit = (
        tables.detections.labels[counted],
        tables.detections.scores[counted],
        matches.is_hit[counted],
    )
    overall_curve = make_curve(scores, is_hit, int(tables.count_objects().sum()))
    overall_best = best_operation(overall_curve)
    threshold = 0.0 if np.isnan(overall_best.threshold) else overall_best.threshold
    of_class = [labels == label for label in range(tables.num_classes)]
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
        calibration=calibrate(scores, is_hit),
        class_calibration=[calibrate(scores[rows], is_hit[rows]) for rows in of_class],
        threshold=threshold,
        confusion=confusion_matrix(tables, matches, threshold),
    )
