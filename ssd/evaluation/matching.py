"""Matching of detections with objects by the rules of VOC or COCO, and their confusion; legend as in tables.py."""

from typing import NamedTuple

import numpy as np

from ssd.evaluation.tables import Tables


class Matches(NamedTuple):
    """Result of each detection."""

    targets: np.ndarray  # (D,) row of the matched object, -1 for none
    is_hit: np.ndarray  # (D,) true positive
    is_ignored: np.ndarray  # (D,) neither true nor false positive

    @property
    def is_false(self) -> np.ndarray:
        """Whether each detection is a false positive, (D,)."""
        return ~self.is_hit & ~self.is_ignored


def match(tables: Tables, iou_threshold: float = 0.5, area: tuple[float, float] | None = None) -> Matches:
    """Match detections with objects of their class.

    VOC: a detection is matched with the object of highest IoU, and the detection with the best score is its true
    positive. COCO: it is matched with the object of highest IoU among those without a detection of better score.
    Objects outside ``area`` are ignored, and so are false positives outside it (COCO's small, medium and large).
    """
    detections, objects, pairs = tables.detections, tables.objects, tables.pairs
    ignored = objects.is_ignored
    if area is not None:
        ignored = ignored | is_outside(objects.areas, area)
    rank = np.empty(len(detections.scores), dtype=np.int64)
    rank[np.argsort(-detections.scores, kind="stable")] = np.arange(len(rank))
    same_class = detections.labels[pairs.detections] == objects.labels[pairs.objects]
    rows = np.flatnonzero(same_class & (pairs.iou >= iou_threshold))

    targets = _match_coco(tables, rows, rank, ignored) if tables.metric == "coco" else best_objects(tables, rows)[0]
    found = np.flatnonzero(targets >= 0)
    is_ignored = np.zeros(len(targets), dtype=bool)
    is_ignored[found] = ignored[targets[found]]
    is_hit = np.zeros(len(targets), dtype=bool)
    found = found[np.argsort(rank[found])]  # best score first; np.unique returns the first of each target
    is_hit[found[np.unique(targets[found], return_index=True)[1]]] = True
    is_hit &= ~is_ignored
    if area is not None:
        is_ignored |= ~is_hit & is_outside(detections.areas, area)
    return Matches(targets, is_hit, is_ignored)


def best_objects(tables: Tables, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the object (D,) of highest IoU among ``rows`` of the pairs, -1 for none, and that IoU (D,)."""
    detections, objects, iou = (column[rows] for column in tables.pairs)
    best_last = np.lexsort((-objects, iou, detections))
    best = np.full(len(tables.detections.labels), -1)
    best_iou = np.zeros(len(best))
    best[detections[best_last]] = objects[best_last]
    best_iou[detections[best_last]] = iou[best_last]
    return best, best_iou


def is_outside(areas: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Return which areas are below the first or above the second limit."""
    return (areas < limits[0]) | (areas > limits[1])


def _match_coco(tables: Tables, rows: np.ndarray, rank: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Targets (D,), unique but for crowds. Of equal IoUs the last one counts, as in COCOeval."""
    detections, objects, iou = (column[rows] for column in tables.pairs)
    order = np.lexsort((-objects, -iou, ignored[objects], rank[detections]))
    targets = np.full(len(rank), -1)
    taken = np.zeros(len(ignored), dtype=bool)
    is_crowd = tables.objects.is_crowd
    for detection, target in zip(detections[order].tolist(), objects[order].tolist(), strict=True):
        if targets[detection] < 0 and not (taken[target] and not is_crowd[target]):
            targets[detection] = target
            taken[target] = True
    return targets


class ImageErrors(NamedTuple):
    """Index of an image, and rows of the tables: its true positives, false positives and missed objects."""

    image: int
    hits: np.ndarray
    false_alarms: np.ndarray
    missed: np.ndarray


def confusion_matrix(tables: Tables, matches: Matches, threshold: float, iou_threshold: float = 0.5) -> np.ndarray:
    """Count objects by their class (row) and by that of the detection on them (column): int64 (C, C).

    True positives above ``threshold`` count first. Then each other detection, highest IoU first, is paired with an
    object of another class that is not paired yet. The rest are false alarms, in row 0, and missed objects, in column
    0. Ignored ones are left out. ``matches`` are those at ``iou_threshold``, of objects of any area.
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


def rank_images(tables: Tables, matches: Matches, threshold: float, count: int) -> tuple[list[ImageErrors], ...]:
    """Return the images with most errors, missed objects and false alarms above ``threshold``, and those with fewest.

    Of equal numbers the higher sum of scores of the false alarms comes first among those with errors, and the one with
    more true positives among the others, which have one at least; then the order of the dataset.
    """
    images, scores = tables.detections.images, tables.detections.scores
    false_alarm, hit = (rows & (scores > threshold) for rows in (matches.is_false, matches.is_hit))
    missed = ~tables.objects.is_ignored
    missed[matches.targets[hit]] = False

    num_errors = np.bincount(images[false_alarm], minlength=tables.num_images)
    num_errors += np.bincount(tables.objects.images[missed], minlength=tables.num_images)
    weight = np.bincount(images[false_alarm], weights=scores[false_alarm], minlength=tables.num_images)
    num_hits = np.bincount(images[hit], minlength=tables.num_images)
    worst = [index for index in np.lexsort((-weight, -num_errors)).tolist() if num_errors[index]][:count]
    best = [index for index in np.lexsort((-num_hits, num_errors)).tolist() if num_hits[index]]
    return tuple(
        [
            ImageErrors(
                index,
                np.flatnonzero(hit & (images == index)),
                np.flatnonzero(false_alarm & (images == index)),
                np.flatnonzero(missed & (tables.objects.images == index)),
            )
            for index in order
        ]
        for order in (worst, [index for index in best if index not in worst][:count])
    )
