"""Dividing a dataset into parts that have the same mix of classes.

Legend: N images, C classes, P parts.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np


def divide(
    names: Sequence[str], labels: Sequence[np.ndarray], groups: np.ndarray, shares: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """Divide images so that each class, and what has no object, is in each part by its share, as nearly as may be.

    Rarest class first, each group of images goes to the part that still lacks most of that class (Sechidis, Tsoumakas
    and Vlahavas, "On the Stratification of Multi-Label Data", 2011, Sec. 3.2, with groups in place of examples). The
    order, and so the result, is a function of the seed and the names alone, on every machine.

    Args:
        names: of N images, different from each other.
        labels: int64 (G,) of the objects of each image; may be empty.
        groups: int64 (N,); images of one group stay together.
        shares: of each of P parts; their sum is 1.
        seed: another seed gives another division.

    Returns:
        Rows of each part, ascending.
    """
    presence = _presence(labels)  # (N, C + 1)
    rows_of = _rows_by_group(names, groups, seed)
    content = np.array([presence[rows].sum(axis=0) for rows in rows_of])  # (groups, C + 1)
    content = content.reshape(len(rows_of), presence.shape[1])
    sizes = np.array([len(rows) for rows in rows_of])
    fractions = np.array(list(shares.values()))
    lacking = fractions[:, None] * content.sum(axis=0)  # (P, C + 1)
    room = fractions * len(names)  # (P,)
    part_of = np.full(len(rows_of), -1)
    while (part_of < 0).any():
        left = content[part_of < 0].sum(axis=0)
        rarest = int(np.where(left > 0, left, np.inf).argmin())
        candidates = np.flatnonzero((part_of < 0) & (content[:, rarest] > 0))
        for group in candidates[np.argsort(-sizes[candidates], kind="stable")]:  # what is large fits only at first
            part = _neediest(lacking[:, rarest], room)
            part_of[group] = part
            lacking[part] -= content[group]
            room[part] -= sizes[group]
    return {
        name: sorted(row for group in np.flatnonzero(part_of == part) for row in rows_of[group])
        for part, name in enumerate(shares)
    }


def _presence(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Whether each image has each class; the last column is that of images without objects."""
    num_classes = max((int(item.max()) for item in labels if len(item)), default=0)
    presence = np.zeros((len(labels), num_classes + 1), dtype=np.int64)
    for row, item in enumerate(labels):
        presence[row, item - 1] = 1
        presence[row, -1] = len(item) == 0
    return presence


def _rows_by_group(names: Sequence[str], groups: np.ndarray, seed: int) -> list[list[int]]:
    """The rows of each group; groups and rows in an order that hashes give."""
    digests = [hashlib.blake2b(f"{seed} {name}".encode(errors="surrogateescape")).digest() for name in names]
    rows_of: dict[int, list[int]] = {}
    for row in sorted(range(len(names)), key=lambda row: digests[row]):
        rows_of.setdefault(int(groups[row]), []).append(row)
    return list(rows_of.values())


def _neediest(lacking: np.ndarray, room: np.ndarray) -> int:
    """The part that lacks most of a class; of several, the one with most room."""
    candidates = np.flatnonzero(lacking >= lacking.max() - 1e-9)  # sums of fractions round
    return int(candidates[room[candidates].argmax()])
