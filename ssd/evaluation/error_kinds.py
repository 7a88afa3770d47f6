"""Kinds of errors, and the AP that each costs: Bolya et al., TIDE, ECCV 2020, Sec. 2.2 and 2.3.

Legend: C classes with background, D detections, G objects.
"""

from typing import NamedTuple

import numpy as np

from ssd.evaluation.curves import average_precision, matched_ap
from ssd.evaluation.matching import Matches, best_objects
from ssd.evaluation.tables import Tables

KINDS = ("class", "localisation", "both", "duplicate", "background", "missed")
CLASS, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, MISSED = range(len(KINDS))
NO_ERROR = -1
_FOUND = 0.5  # least IoU of a well placed box; below MIN_OVERLAP it is background


class ErrorSplit(NamedTuple):
    """Kind of each error, and the cost of each kind."""

    kinds: np.ndarray  # (D,) kind of each false positive as an index of KINDS; NO_ERROR for other detections
    targets: np.ndarray  # (D,) object of a ``class`` or ``localisation`` error, else -1
    is_missed: np.ndarray  # (G,) not found, and no target
    costs: np.ndarray  # (6, C) gain in AP if the errors of one kind are fixed


def split_errors(tables: Tables, matches: Matches) -> ErrorSplit:
    """Return the kind of each error, and the cost of each kind.

    A false positive is of the first kind that applies. ``localisation``: IoU of 0.1 to 0.5 with an object of its class;
    ``class``: 0.5 or more with one of another class; ``duplicate``: 0.5 or more with one of its class, which a better
    detection has found; ``background``: below 0.1 with all; else ``both``. A fixed ``class`` or ``localisation`` error
    becomes a true positive of its target, unless that is found already or by a better error that is fixed. Errors of
    other kinds and ``missed`` objects are removed; a class without objects then has an AP of 1.
    """
    kinds, targets = _kinds(tables, matches)
    is_found = np.zeros(len(tables.objects.labels), dtype=bool)
    is_found[matches.targets[matches.is_hit]] = True
    is_missed = ~is_found & ~tables.objects.is_ignored
    is_missed[targets[targets >= 0]] = False
    base = matched_ap(tables, matches)
    costs = [_fixed_ap(tables, matches, targets, kinds == kind, is_found) - base for kind in range(MISSED)]
    costs.append(_ap_without(tables, matches, is_missed) - base)
    return ErrorSplit(kinds, targets, is_missed, np.stack(costs))


def _kinds(tables: Tables, matches: Matches) -> tuple[np.ndarray, np.ndarray]:
    """Kinds (D,) and targets (D,) without regard to ignored objects."""
    pairs = tables.pairs
    counts = ~tables.objects.is_ignored[pairs.objects]
    is_own = tables.detections.labels[pairs.detections] == tables.objects.labels[pairs.objects]
    own, own_iou = best_objects(tables, np.flatnonzero(counts & is_own))
    other, other_iou = best_objects(tables, np.flatnonzero(counts & ~is_own))
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


def _fixed_ap(
    tables: Tables, matches: Matches, targets: np.ndarray, wrong: np.ndarray, is_found: np.ndarray
) -> np.ndarray:
    """AP (C,) if the errors ``wrong`` (D,) are fixed; ``is_found`` (G,) are the objects found without that."""
    labels, is_hit = tables.detections.labels.copy(), matches.is_hit.copy()
    fixed = np.flatnonzero(wrong & (targets >= 0))
    fixed = fixed[np.argsort(-tables.detections.scores[fixed], kind="stable")]
    fixed = fixed[np.unique(targets[fixed], return_index=True)[1]]
    fixed = fixed[~is_found[targets[fixed]]]
    is_hit[fixed] = True
    labels[fixed] = tables.objects.labels[targets[fixed]]
    counted = ~matches.is_ignored & (~wrong | is_hit)
    return average_precision(tables, is_hit, counted, tables.count_objects(), labels)


def _ap_without(tables: Tables, matches: Matches, removed: np.ndarray) -> np.ndarray:
    """AP (C,) without the objects ``removed`` (G,), which are not found."""
    num_objects = tables.count_objects()
    left = num_objects - np.bincount(tables.objects.labels[removed], minlength=tables.num_classes)
    ap = average_precision(tables, matches.is_hit, ~matches.is_ignored, left)
    return np.where((num_objects > 0) & (left == 0), 1.0, ap)
