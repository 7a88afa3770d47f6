"""Errors at one score threshold: the confusion matrix, and the images with most errors."""

from typing import NamedTuple

import numpy as np

from ssd.evaluation.matching import Matches
from ssd.evaluation.tables import Tables


class ImageErrors(NamedTuple):
    """Index of an image, and rows of the tables: its true positives, false positives and missed objects."""

    image: int
    hits: np.ndarray
    false_alarms: np.ndarray
    missed: np.ndarray


def confusion_matrix(tables: Tables, matches: Matches, threshold: float, iou_threshold: float = 0.5) -> np.ndarray:
    """Count objects by their class and by that of the detection on them.

    True positives count first. Then each other detection, highest IoU first, is paired with an object of another class
    that is not paired yet. The rest are false alarms and missed objects. Ignored ones are left out.

    Args:
        tables: Tables of the dataset.
        matches: Matches at ``iou_threshold``, of objects of any area.
        threshold: Detections that score above it count.
        iou_threshold: Least IoU of a pair.

    Returns:
        int64 (C, C), rows by label of the object, columns by label of the detection. Row 0 has the false alarms,
        column 0 the missed objects.
    """
    labels, gt_labels = tables.detections.labels, tables.objects.labels
    is_shown = (tables.detections.scores > threshold) & ~matches.is_ignored
    seen_as = np.zeros(len(gt_labels), dtype=np.int64)
    hits = np.flatnonzero(is_shown & matches.is_hit)
    seen_as[matches.targets[hits]] = labels[hits]
    is_free = is_shown & ~matches.is_hit

    detections, objects, iou = tables.pairs
    rows = (iou >= iou_threshold) & is_free[detections] & ~tables.objects.is_ignored[objects]
    rows &= labels[detections] != gt_labels[objects]
    order = np.flatnonzero(rows)[np.argsort(-iou[rows], kind="stable")]
    for detection, target in zip(detections[order].tolist(), objects[order].tolist(), strict=True):
        if is_free[detection] and not seen_as[target]:
            seen_as[target] = labels[detection]
            is_free[detection] = False

    counted = ~tables.objects.is_ignored
    matrix = np.zeros((tables.num_classes, tables.num_classes), dtype=np.int64)
    np.add.at(matrix, (gt_labels[counted], seen_as[counted]), 1)
    matrix[0] = np.bincount(labels[is_free], minlength=tables.num_classes)
    return matrix


def pick_confused(confusion: np.ndarray, count: int) -> list[int]:
    """Return ascending labels of the classes that are confused most with others, from a matrix (C, C)."""
    among = confusion[1:, 1:] - np.diag(np.diag(confusion[1:, 1:]))
    errors = confusion[1:, 0] + confusion[0, 1:]
    order = np.lexsort((np.arange(len(errors)), -errors, -(among.sum(axis=0) + among.sum(axis=1))))
    return sorted((order[:count] + 1).tolist())


def worst_images(tables: Tables, matches: Matches, threshold: float, count: int) -> list[ImageErrors]:
    """Return the images with most errors: missed objects and false alarms that score above ``threshold``.

    Of equal numbers the higher sum of scores of the false alarms comes first, then the order of the dataset. Images
    without an error are left out.
    """
    images, scores = tables.detections.images, tables.detections.scores
    false_alarm, hit = (rows & (scores > threshold) for rows in (matches.is_false, matches.is_hit))
    missed = ~tables.objects.is_ignored
    missed[matches.targets[hit]] = False

    num_errors = np.bincount(images[false_alarm], minlength=tables.num_images)
    num_errors += np.bincount(tables.objects.images[missed], minlength=tables.num_images)
    weight = np.bincount(images[false_alarm], weights=scores[false_alarm], minlength=tables.num_images)
    order = np.lexsort((np.arange(tables.num_images), -weight, -num_errors))[:count]
    return [
        ImageErrors(
            index,
            np.flatnonzero(hit & (images == index)),
            np.flatnonzero(false_alarm & (images == index)),
            np.flatnonzero(missed & (tables.objects.images == index)),
        )
        for index in order.tolist()
        if num_errors[index]
    ]
