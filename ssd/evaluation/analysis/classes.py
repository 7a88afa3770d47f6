"""Which classes a plot has room for."""

import math
from collections.abc import Sequence

import numpy as np

MAX_LINES = 8
MAX_BARS = 24
MAX_CONFUSED = 20


def pick_classes(values: np.ndarray, count: int) -> list[int]:
    """Return labels of the lowest and the highest values (C,), the highest first; the background and nan are left out.

    All where there are ``count`` or fewer, else half of them from either end.
    """
    known = [label for label in np.argsort(-values, kind="stable").tolist() if label and not math.isnan(values[label])]
    return known if len(known) <= count else known[: count // 2] + known[-(count - count // 2) :]


def describe_choice(chosen: Sequence[int], num_classes: int, count: int, others: str = "objects") -> str:
    """Return the end of a caption: which of ``num_classes`` (without background) are shown.

    Args:
        chosen: labels that ``pick_classes`` returned.
        num_classes: of the dataset.
        count: how many it was asked for.
        others: what the classes lack whose value was nan.
    """
    if len(chosen) == num_classes:
        return ""
    if len(chosen) < count:
        return f" {len(chosen)} of {num_classes} classes: those with {others}."
    return f" {count} of {num_classes} classes: the {count // 2} best and the {count - count // 2} worst by AP."


def pick_confused(confusion: np.ndarray, count: int) -> list[int]:
    """Return ascending labels of the classes that are confused most with others, in a matrix (C, C)."""
    among = confusion[1:, 1:] - np.diag(np.diag(confusion[1:, 1:]))
    errors = confusion[1:, 0] + confusion[0, 1:]
    order = np.lexsort((np.arange(len(errors)), -errors, -(among.sum(axis=0) + among.sum(axis=1))))
    return sorted((order[:count] + 1).tolist())
