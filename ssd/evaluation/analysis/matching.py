"""Which detection finds which object, by the rules of VOC or of COCO; see tables.py for the legend."""

from typing import NamedTuple

import numpy as np

from ssd.evaluation.analysis.tables import Tables


class Matches(NamedTuple):
    """What became of each detection.

    Attributes:
        targets: (D,) the object that the metric holds the detection against, -1 for none.
        is_hit: (D,) a true positive.
        is_ignored: (D,) neither a true nor a false positive.
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

    VOC: a detection is held against the object that it overlaps most, and the best-scored one finds it. COCO: it finds
    the one that it overlaps most of those that no better-scored one has found.

    Args:
        tables: of the dataset.
        iou_threshold: a detection must overlap an object at least so much to find it.
        area: look at objects of this least and greatest area only: others are ignored, and so are false positives of
            another area (COCO's rule for small, medium and large objects).
    """
    ignored = tables.objects.is_ignored
    if area is not None:
        ignored = ignored | is_outside(tables.objects.areas, area)
    rank = np.empty(len(tables.detections.scores), dtype=np.int64)
    rank[np.argsort(-tables.detections.scores, kind="stable")] = np.arange(len(rank))
    match_pairs = _match_coco if tables.metric == "coco" else _match_voc
    targets, is_claimed = match_pairs(tables, _own_class_pairs(tables, iou_threshold), rank, ignored)
    found = targets >= 0
    is_ignored = np.zeros(len(targets), dtype=bool)
    is_ignored[found] = ignored[targets[found]]
    is_hit = found & ~is_ignored & ~is_claimed
    if area is not None:
        is_ignored |= ~is_hit & is_outside(tables.detections.areas, area)
    return Matches(targets, is_hit, is_ignored)


def is_outside(areas: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Return which areas are below the first or above the second limit."""
    return (areas < limits[0]) | (areas > limits[1])


def _own_class_pairs(tables: Tables, iou_threshold: float) -> np.ndarray:
    """Rows of the pairs whose object has the detection's class and is overlapped enough."""
    pairs = tables.pairs
    same = tables.detections.labels[pairs.detections] == tables.objects.labels[pairs.objects]
    return np.flatnonzero(same & (pairs.iou >= iou_threshold))


def _match_voc(
    tables: Tables, rows: np.ndarray, rank: np.ndarray, ignored: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Targets (D,), and whether a better-scored detection has the same."""
    detections, objects, iou = (column[rows] for column in tables.pairs)
    best_last = np.lexsort((-objects, iou, detections))
    targets = np.full(len(rank), -1)
    targets[detections[best_last]] = objects[best_last]
    found = np.flatnonzero(targets >= 0)
    found = found[np.argsort(rank[found])]
    is_claimed = np.ones(len(rank), dtype=bool)
    is_claimed[found[np.unique(targets[found], return_index=True)[1]]] = False
    return targets, is_claimed


def _match_coco(
    tables: Tables, rows: np.ndarray, rank: np.ndarray, ignored: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As ``_match_voc``; nothing is claimed twice but crowds. Of equal overlaps the last counts, as in COCOeval."""
    detections, objects, iou = (column[rows] for column in tables.pairs)
    order = np.lexsort((-objects, -iou, ignored[objects], rank[detections]))
    targets = np.full(len(rank), -1)
    taken = np.zeros(len(ignored), dtype=bool)
    is_crowd = tables.objects.is_crowd
    for detection, target in zip(detections[order].tolist(), objects[order].tolist(), strict=True):
        if targets[detection] < 0 and not (taken[target] and not is_crowd[target]):
            targets[detection] = target
            taken[target] = True
    return targets, np.zeros(len(rank), dtype=bool)
