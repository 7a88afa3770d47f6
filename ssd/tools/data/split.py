"""Divide a dataset into parts with the same mix of classes, near duplicates in one part.

Near duplicates are copies in another size, format or quality, and neighbouring frames of a video.
Legend: N images, C classes, P parts.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np

from ssd.data.datasets.sizes import read_annotated_image
from ssd.tools.data.content import Content, Record
from ssd.utils.device import available_cores, map_rows
from ssd.utils.errors import ConfigError

_REDUCTION = 4  # scale at which a JPEG is decoded for its hash
# A difference hash: whether each of 8 x 8 cells is brighter than its right neighbour (N. Krawetz, "Kind of Like That",
# hackerfactor.com, 2013). Measured on 364 blood smears (BCCD) and 125 photographs (of COCO): copies of half the
# size, as JPEG of quality 30, or brighter by 10, differ in at most 5 bits and 10.5 of 255; different images in at least
# 10 bits, but for two smears of one place (2 bits, 2.2 of 255).
_CELLS, _MAX_BITS = 8, 6
# Hashes of plain images agree by chance, so thumbnails must agree too: mean difference, of 255.
_SIDE, _MAX_DIFFERENCE = 16, 12.0
_BLOCK = 1024  # rows compared with all others at a time


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


def split_content(content: Content, shares: Mapping[str, float], seed: int) -> tuple[Content, int]:
    """Return the content with its images in new parts, and the number of images that follow a near duplicate.

    Raises:
        ConfigError: a part would be empty.
        DatasetError, ImageError: an image cannot be decoded, or has another size than annotated.
    """
    hashes = map_rows(lambda row: _hash_record(content.records[row]), len(content.records), available_cores())
    groups = group_near_duplicates(list(hashes))
    names = [f"{os.path.basename(record.path)} {record.name}" for record in content.records]
    parts = divide(names, [record.labels for record in content.records], groups, shares, seed)
    empty = [part for part, rows in parts.items() if not rows]
    if empty:
        raise ConfigError(f"--parts: {len(names)} images leave none for {', '.join(empty)}")
    return replace(content, parts=parts), len(groups) - len(np.unique(groups))


def divide(
    names: Sequence[str], labels: Sequence[np.ndarray], groups: np.ndarray, shares: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """Divide images so that each part has its share of each class and of the images without objects.

    Rarest class first, each group of images goes to the part that still lacks most of that class (Sechidis, Tsoumakas
    and Vlahavas, "On the Stratification of Multi-Label Data", 2011, Sec. 3.2, with groups in place of examples). The
    result is a function of the seed and the names alone, on every machine.

    Args:
        names: N different names.
        labels: int64 (G,) of the objects of each image; may be empty.
        groups: int64 (N,); images of one group stay together.
        shares: Share of each of P parts; their sum is 1.
        seed: Seed of the order.

    Returns:
        Rows of each part, ascending.
    """
    presence = _presence(labels)  # (N, C + 1)
    digests = [hashlib.blake2b(f"{seed} {name}".encode(errors="surrogateescape")).digest() for name in names]
    rows_by_group: dict[int, list[int]] = {}
    for row in sorted(range(len(names)), key=lambda row: digests[row]):
        rows_by_group.setdefault(int(groups[row]), []).append(row)
    rows_of = list(rows_by_group.values())
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
        for group in candidates[np.argsort(-sizes[candidates], kind="stable")]:  # large groups fit only at first
            neediest = np.flatnonzero(lacking[:, rarest] >= lacking[:, rarest].max() - 1e-9)  # sums of fractions round
            part = neediest[room[neediest].argmax()]
            part_of[group] = part
            lacking[part] -= content[group]
            room[part] -= sizes[group]
    return {
        name: sorted(row for group in np.flatnonzero(part_of == part) for row in rows_of[group])
        for part, name in enumerate(shares)
    }


def _hash_record(record: Record) -> np.ndarray:
    return hash_image(read_annotated_image(record.path, record.width, record.height, _REDUCTION)[0])


def hash_image(image: np.ndarray) -> np.ndarray:
    """Return the difference hash, 64 bits, and the pixels of a grey thumbnail of an RGB uint8 image; uint8 (320,)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    cells = cv2.resize(grey, (_CELLS + 1, _CELLS), interpolation=cv2.INTER_AREA)
    thumbnail = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.concatenate([(cells[:, :-1] > cells[:, 1:]).ravel(), thumbnail.ravel()]).astype(np.uint8)


def group_near_duplicates(hashes: Sequence[np.ndarray]) -> np.ndarray:
    """Return the group of each image, int64 (N,): the first row that it is similar to, directly or over others."""
    bits_and_pixels = np.array(hashes, dtype=np.int16).reshape(-1, _CELLS**2 + _SIDE**2)
    signs = bits_and_pixels[:, : _CELLS**2].astype(np.float32) * 2 - 1
    thumbnails = bits_and_pixels[:, _CELLS**2 :]
    groups = np.arange(len(hashes))
    for start in range(0, len(hashes), _BLOCK):
        bits = (_CELLS**2 - signs[start : start + _BLOCK] @ signs.T) / 2  # different bits; exact in float32
        is_candidate = bits <= _MAX_BITS
        for row in np.flatnonzero(is_candidate.sum(axis=1) > 1):  # each is similar to itself
            others = np.flatnonzero(is_candidate[row] & (groups != groups[start + row]))
            differences = np.abs(thumbnails[others] - thumbnails[start + row]).mean(axis=1)
            joined = np.unique(groups[[start + row, *others[differences <= _MAX_DIFFERENCE]]])
            if len(joined) > 1:
                groups[np.isin(groups, joined)] = joined[0]
    return groups


def table_of_parts(content: Content) -> str:
    """Return a table of the images and the objects of each class in each part."""
    columns = []
    for rows in content.parts.values():
        labels = np.concatenate([content.records[row].labels for row in rows])
        columns.append([len(rows), *np.bincount(labels, minlength=len(content.class_names) + 1)[1:].tolist()])
    names = ["images", *content.class_names]
    width = max(map(len, names))
    sizes = [max(len(part), 8) for part in content.parts]
    table = [("", tuple(content.parts)), *zip(names, zip(*columns, strict=True), strict=True)]
    lines = [
        f"{name:<{width}}" + "".join(f"  {cell:>{size}}" for cell, size in zip(cells, sizes, strict=True))
        for name, cells in table
        if any(cells)
    ]
    unused = [name for name, cells in table if not any(cells)]
    return "\n".join([*lines, *([f"no object: {', '.join(unused)}"] if unused else [])]) + "\n"


def _presence(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Whether each image has each class, int64 (N, C + 1); the last column is that of images without objects."""
    num_classes = max((int(item.max()) for item in labels if len(item)), default=0)
    presence = np.zeros((len(labels), num_classes + 1), dtype=np.int64)
    for row, item in enumerate(labels):
        presence[row, item - 1] = 1
        presence[row, -1] = len(item) == 0
    return presence
