"""Split a dataset into parts with the same mix of classes; versions of one photograph stay in one part.

Legend: N images, C classes, P parts, F counted features.
"""

import hashlib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from ssd.data.datasets.folders import kind_of_split
from ssd.data.datasets.sizes import read_annotated_image
from ssd.tools.data.content import Content, Record
from ssd.tools.data.near_duplicates import group_versions, make_thumbnail
from ssd.utils.device import available_cores, map_rows
from ssd.utils.errors import ConfigError

Part = TypeVar("Part", bound=Collection[Any])  # images, by row or by path

_REDUCTION = 4  # scale at which a JPEG is decoded for its thumbnail
_SHOWN = 3  # groups in a message, with two names each
_TESTED = ("val", "test")  # kinds of parts, in the order in which they are chosen for DATASETS.TEST


def parse_parts(text: str) -> dict[str, float]:
    """Parse ``train=0.8,test=0.2``: different names, and shares whose sum is 1."""
    shares: dict[str, float] = {}
    for item in text.split(","):
        match = re.fullmatch(r"\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(\d*\.?\d+)\s*", item)
        if match is None or match[1] in shares or not 0 < float(match[2]) <= 1:
            raise ConfigError(
                f"--parts {text}: expected different names with shares, like train=0.8,test=0.2; got {item}"
            )
        shares[match[1]] = float(match[2])
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ConfigError(f"--parts {text}: the sum of the shares is {sum(shares.values()):g}, not 1")
    return shares


def group_content(content: Content, max_bits: int | None) -> np.ndarray:
    """Return the group of each image, int64 (N,), see ``group_versions``; ``max_bits`` None = by the names alone."""
    names = [record.path.name for record in content.records]
    if max_bits is None:
        return group_versions(names, None)
    thumbnails = map_rows(lambda row: _read_thumbnail(content.records[row]), len(names), available_cores())
    return group_versions(names, np.array(list(thumbnails)), max_bits)


def _read_thumbnail(record: Record) -> np.ndarray:
    return make_thumbnail(read_annotated_image(record.path, (record.width, record.height), record.boxes, _REDUCTION)[0])


def split_content(content: Content, shares: Mapping[str, float], seed: int, groups: np.ndarray) -> dict[str, list[int]]:
    """Return the rows of the images in each of new parts, see ``divide``; ConfigError if a part would be empty."""
    names = [f"{os.path.basename(record.path)} {record.name}" for record in content.records]
    parts = divide(names, [record.labels for record in content.records], groups, shares, seed)
    empty = [part for part, rows in parts.items() if not rows]
    if empty:
        grouped = describe_groups(content, groups)
        remedy = f": {grouped}. Give --near-duplicates fewer bits, or off" if grouped else ""
        raise ConfigError(f"{len(names)} images leave none for the part {', '.join(empty)}{remedy}")
    return parts


def order_parts(parts: Mapping[str, Part]) -> dict[str, Part]:
    """Return parts with that for training first and that for testing second; empty if no two parts are disjoint.

    The first is the largest with train in its name, of those with a disjoint second; val goes before test.
    """
    kinds = {part: kind_of_split(part) for part in parts}
    by_use = sorted(parts, key=lambda part: [kind not in kinds[part] for kind in _TESTED])
    for train in sorted(parts, key=lambda part: ("train" not in kinds[part], -len(parts[part]))):
        test = next((part for part in by_use if set(parts[part]).isdisjoint(parts[train])), None)
        if test is not None:
            return {part: parts[part] for part in dict.fromkeys((train, test, *by_use))}
    return {}


def choose_roles(parts: Mapping[str, Collection[Any]]) -> tuple[list[str], list[str]]:
    """Return the parts to train on and those to test on, val and test; all are for training if there are no others.

    A part whose images are all in those before it, in the order of ``order_parts``, is left out: train and val next to
    trainval. None of the parts need be disjoint; then all are returned.
    """
    ordered, chosen = order_parts(parts), []
    seen: set[Any] = set()
    for part in ordered or parts:
        if not ordered or not parts[part] or not seen.issuperset(parts[part]):
            chosen.append(part)
            seen.update(parts[part])
    train = [part for part in chosen if not _is_tested(part)] or chosen
    return train, [part for part in chosen if part not in train]


def _is_tested(part: str) -> bool:
    """Whether a part is called val or test, or has a word such as that, like custom_val."""
    kinds = {kind_of_split(word) for word in (part, *re.split(r"[-_. ]+", part))}
    return bool(kinds & {*_TESTED}) and "train" not in kinds


def describe_groups(content: Content, groups: np.ndarray) -> str:
    """Return the groups of several images as text, the largest with names; empty if there are none."""
    found, counts = np.unique(groups, return_counts=True)
    found, counts = found[counts > 1], counts[counts > 1]
    if not len(found):
        return ""
    texts = []
    for group in found[np.argsort(-counts, kind="stable")][:_SHOWN]:
        rows = np.flatnonzero(groups == group)
        names = [content.records[row].path.name for row in rows]
        texts.append(", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else ""))
    rest = f"; and {len(found) - _SHOWN} more groups" if len(found) > _SHOWN else ""
    kind = "versions of one photograph or near duplicates"
    return f"{counts.sum()} images in {len(found)} group(s) of {kind}: {'; '.join(texts)}{rest}"


def divide(
    names: Sequence[str], labels: Sequence[np.ndarray], groups: np.ndarray, shares: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """Divide images so that each part has its share of them, within one image or group, and about its share of classes.

    Images with the same number in ``groups`` (N,) stay together; ``labels`` are those of the objects of each image.
    Return the rows of each part, ascending.

    One group after the other, large groups and rare classes first, goes to the part with room for it whose counts come
    closest to its shares by the chi-square statistic: images with each class, objects of each class, and images without
    objects. (After Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", 2011, Sec. 3.2, whose
    parts have no fixed size.) The result is a function of the seed and the names alone, on every machine.
    """
    digests = [hashlib.blake2b(f"{seed} {name}".encode(errors="surrogateescape")).digest() for name in names]
    rows_by_group: dict[int, list[int]] = {}
    for row in sorted(range(len(names)), key=lambda row: digests[row]):
        rows_by_group.setdefault(int(groups[row]), []).append(row)
    rows_of, features = list(rows_by_group.values()), _count_features(labels)
    content = np.array([features[rows].sum(axis=0) for rows in rows_of]).reshape(-1, features.shape[1])
    sizes, total = np.array([len(rows) for rows in rows_of]), content.sum(axis=0)
    fractions = np.array(list(shares.values()))
    lacking = fractions[:, None] * total  # (P, F)
    expected = np.maximum(lacking, 1e-9)
    room = _round_shares(fractions, len(names))  # (P,)
    rarest = np.where(content > 0, total, np.inf).min(axis=1, initial=np.inf)
    parts: dict[str, list[int]] = {name: [] for name in shares}
    for group in np.lexsort((-content.sum(axis=1), rarest, -sizes)):
        has_room = room >= min(sizes[group], room.max())
        change = ((content[group] - 2 * lacking) * content[group] / expected).sum(axis=1)  # of chi-square
        part = int(np.where(has_room, change.round(9), np.inf).argmin())  # sums of fractions round
        parts[list(shares)[part]] += rows_of[group]
        lacking[part] -= content[group]
        room[part] -= sizes[group]
    return {name: sorted(rows) for name, rows in parts.items()}


def _round_shares(fractions: np.ndarray, total: int) -> np.ndarray:
    """Return whole numbers with a sum, the largest remainders rounded up, none 0 if the sum allows it; int64 (P,)."""
    exact = (fractions * total).round(6)
    whole = np.floor(exact).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: total - whole.sum()]] += 1
    while total >= len(whole) and not whole.all():
        whole[whole.argmax()] -= 1
        whole[whole.argmin()] += 1
    return whole


def _count_features(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Return the objects of each class in each image, whether there are any, and whether there are none; (N, F)."""
    num_classes = max((int(item.max()) for item in labels if len(item)), default=0)
    objects = np.array([np.bincount(item, minlength=num_classes + 1)[1:] for item in labels], dtype=np.float64)
    objects = objects.reshape(len(labels), num_classes)
    return np.concatenate([objects, objects > 0, (objects == 0).all(axis=1, keepdims=True)], axis=1)


def table_of_parts(content: Content) -> str:
    """Return a table of the images and the objects of each class in each part, and the classes without an object."""
    names = ["all", *content.class_names, "without objects"]
    counts = np.zeros((len(names), 2 * len(content.parts)), dtype=np.int64)
    for part, rows in enumerate(content.parts.values()):
        for record in (content.records[row] for row in rows):
            objects = np.bincount(record.labels, minlength=len(names) - 1)
            objects[0] = len(record.labels)
            counts[:-1, 2 * part + 1] += objects
            counts[1:-1, 2 * part] += objects[1:] > 0
            counts[-1, 2 * part] += not len(record.labels)
        counts[0, 2 * part] = len(rows)
    width = max(len(name) for name in names)
    lines = [
        " " * width + "".join(f"{part:>20}" for part in content.parts),
        f"{'class':<{width}}" + f"{'images':>10}{'objects':>10}" * len(content.parts),
    ]
    is_used = np.asarray(counts.any(axis=1))
    lines += [f"{names[row]:<{width}}" + "".join(f"{n:>10}" for n in counts[row]) for row in np.flatnonzero(is_used)]
    unused = [name for name, used in zip(names[1:-1], is_used[1:-1], strict=True) if not used]
    return "\n".join([*lines, *([f"no object: {', '.join(unused)}"] if unused else [])]) + "\n"
