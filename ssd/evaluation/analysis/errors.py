"""Errors by kind, and the AP that each kind costs: Bolya et al., TIDE, ECCV 2020, Sec. 2.2 and 2.3.

Legend: C classes with background, D detections, G objects.
"""

from typing import NamedTuple

import numpy as np

from ssd.evaluation.analysis.curves import average_precision
from ssd.evaluation.analysis.matching import Matches
from ssd.evaluation.analysis.tables import Tables

KINDS = ("class", "localisation", "both", "duplicate", "background", "missed")
CLASS, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, MISSED = range(len(KINDS))
NO_ERROR = -1
_FOUND = 0.5  # IoU with an object from which a box counts as well placed; below MIN_OVERLAP it lies on background


class ErrorSplit(NamedTuple):
    """What is wrong with each detection and object, and what that costs.

    Attributes:
        kinds: (D,) the kind of each false positive as an index of KINDS; NO_ERROR for other detections.
        targets: (D,) the object that a ``class`` or ``localisation`` error means, else -1.
        is_missed: (G,) not found, and no ``class`` or ``localisation`` error means it.
        base_ap: (C,) AP at IoU 0.5; nan where there is no object to find.
        costs: (6, C) the AP that is gained where the errors of one kind alone are mended.
        false_positive_costs: (C,) where all false positives are removed.
        false_negative_costs: (C,) where only the objects that were found are looked for.
    """

    kinds: np.ndarray
    targets: np.ndarray
    is_missed: np.ndarray
    base_ap: np.ndarray
    costs: np.ndarray
    false_positive_costs: np.ndarray
    false_negative_costs: np.ndarray


def split_errors(tables: Tables, matches: Matches) -> ErrorSplit:
    """Name the kind of each error, and measure what each kind costs.

    A false positive is the first of these that it can be. ``localisation``: it overlaps an object of its class by 0.1
    to 0.5; ``class``: one of another class by 0.5 or more; ``duplicate``: one of its class by 0.5 or more, which a
    better one has found; ``background``: none by 0.1; else ``both``.
    Mending gives a ``class`` or ``localisation`` error the class and box of the object that it overlaps most, unless
    that is found already or by a better one that is mended, and removes the others; ``missed`` objects are not looked
    for any more. A class in which nothing is left to look for then has an AP of 1.

    Args:
        tables: of the dataset.
        matches: at IoU 0.5, of objects of any area.
    """
    kinds, targets = _kinds(tables, matches)
    is_found = _marked(len(tables.objects.labels), matches.targets[matches.is_hit])
    is_meant = _marked(len(is_found), targets[targets >= 0])
    is_missed = ~is_found & ~is_meant & ~tables.objects.is_ignored
    num_objects = tables.count_objects()
    base = _ap(tables, tables.detections.labels, matches.is_hit, ~matches.is_ignored, num_objects)
    costs = [_mended_ap(tables, matches, kinds, targets, kind) - base for kind in range(MISSED)]
    costs.append(_ap_without(tables, matches, is_missed) - base)
    only_hits = _ap(tables, tables.detections.labels, matches.is_hit, matches.is_hit, num_objects)
    only_found = _ap_without(tables, matches, ~is_found & ~tables.objects.is_ignored)
    return ErrorSplit(kinds, targets, is_missed, base, np.stack(costs), only_hits - base, only_found - base)


def _kinds(tables: Tables, matches: Matches) -> tuple[np.ndarray, np.ndarray]:
    """Kinds (D,) and targets (D,); ignored objects take no part."""
    pairs, labels = tables.pairs, tables.detections.labels
    counts = ~tables.objects.is_ignored[pairs.objects]
    is_own = labels[pairs.detections] == tables.objects.labels[pairs.objects]
    own, own_iou = _best(tables, counts & is_own)
    other, other_iou = _best(tables, counts & ~is_own)
    conditions = [
        ~matches.is_false,
        (own >= 0) & (own_iou < _FOUND),
        other_iou >= _FOUND,
        own_iou >= _FOUND,
        (own < 0) & (other < 0),
    ]
    kinds = np.select(conditions, [NO_ERROR, LOCALISATION, CLASS, DUPLICATE, BACKGROUND], default=BOTH)
    targets = np.select([kinds == LOCALISATION, kinds == CLASS], [own, other], default=-1)
    return kinds, targets


def _best(tables: Tables, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The object (D,) that each detection overlaps most in the pairs wanted (K,), -1 for none, and that IoU (D,)."""
    detections, objects, iou = (column[wanted] for column in tables.pairs)
    best_last = np.lexsort((-objects, iou, detections))
    best = np.full(len(tables.detections.labels), -1)
    best_iou = np.zeros(len(best))
    best[detections[best_last]] = objects[best_last]
    best_iou[detections[best_last]] = iou[best_last]
    return best, best_iou


def _mended_ap(tables: Tables, matches: Matches, kinds: np.ndarray, targets: np.ndarray, kind: int) -> np.ndarray:
    """AP (C,) with the errors of one kind mended."""
    wrong = kinds == kind
    labels, is_hit = tables.detections.labels.copy(), matches.is_hit.copy()
    mended = np.flatnonzero(wrong & (targets >= 0))
    mended = mended[np.argsort(-tables.detections.scores[mended], kind="stable")]
    mended = mended[np.unique(targets[mended], return_index=True)[1]]
    is_found = _marked(len(tables.objects.labels), matches.targets[matches.is_hit])
    mended = mended[~is_found[targets[mended]]]
    is_hit[mended] = True
    labels[mended] = tables.objects.labels[targets[mended]]
    return _ap(tables, labels, is_hit, ~matches.is_ignored & (~wrong | is_hit), tables.count_objects())


def _ap_without(tables: Tables, matches: Matches, dropped: np.ndarray) -> np.ndarray:
    """AP (C,) when the objects ``dropped`` (G,), none of which is found, are not looked for."""
    num_objects = tables.count_objects()
    left = num_objects - np.bincount(tables.objects.labels[dropped], minlength=tables.num_classes)
    ap = _ap(tables, tables.detections.labels, matches.is_hit, ~matches.is_ignored, left)
    return np.where((num_objects > 0) & (left == 0), 1.0, ap)


def _ap(
    tables: Tables, labels: np.ndarray, is_hit: np.ndarray, counted: np.ndarray, num_objects: np.ndarray
) -> np.ndarray:
    scores = tables.detections.scores
    return average_precision(labels[counted], scores[counted], is_hit[counted], num_objects, metric=tables.metric)


def _marked(length: int, rows: np.ndarray) -> np.ndarray:
    marks = np.zeros(length, dtype=bool)
    marks[rows] = True
    return marks
