"""Matching of detections with objects by the rules of VOC or COCO; legend as in tables.py."""

from typing import NamedTuple

import numpy as np

from ssd.evaluation.tables import Tables


class Matches(NamedTuple):
    """Result of each detection.

    Attributes:
        targets: (D,) row of the matched object, -1 for none.
        is_hit: (D,) true positive.
        is_ignored: (D,) neither true nor false positive.
    """

    targets: np.ndarray
    is_hit: np.ndarray
    is_ignored: np.ndarray

    @property
    def is_false(self) -> np.ndarray:
        """Whether each detection is a false positive, (D,)."""
        return ~self.is_hit & ~self.is_ignored


def match(tables: Tables, iou_threshold: float = 0.5, area: tuple[float, float] | None = None) -> Matches:
    """Match detections with objects of their class.

    VOC: a detection is matched with the object of highest IoU, and the detection with the best score is its true
    positive. COCO: it is matched with the object of highest IoU among those without a detection of better score.

    Args:
        tables: Tables of the dataset.
        iou_threshold: Least IoU of a match.
        area: Least and greatest area. Other objects are ignored, and so are false positives of another area (COCO's
            rule for small, medium and large objects).
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
