"""Which class is taken for which, at one score threshold."""

import numpy as np

from ssd.evaluation.analysis.matching import Matches
from ssd.evaluation.analysis.tables import Tables


def confusion_matrix(tables: Tables, matches: Matches, threshold: float, iou_threshold: float = 0.5) -> np.ndarray:
    """Count objects by their class and by that of the detection on them.

    Objects that are found count first. Then each other detection, those with the highest IoU first, is paired with the
    object of another class that it overlaps enough and that nothing else is paired with. What remains is a false alarm,
    or missed. Ignored objects and detections take no part.

    Args:
        tables: of the dataset.
        matches: at ``iou_threshold``, of objects of any area.
        threshold: detections that score above it count.
        iou_threshold: what is enough.

    Returns:
        int64 (C, C), rows by the object's label, columns by the detection's. Label 0 stands for nothing: row 0 holds
        the false alarms, column 0 the missed objects.
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
