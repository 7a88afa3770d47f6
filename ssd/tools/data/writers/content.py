"""What a dataset holds, whatever its format: images with their boxes, and which of them are in which part.

Legend: G objects of an image.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ssd.data.datasets import ArrayDataset, COCODataset, DetectionDataset, YOLODataset
from ssd.data.datasets.sizes import MISSING
from ssd.utils.errors import ConfigError, DatasetError, shorten

_UNSAFE = re.compile(r"[^\w.,+=@()\[\]{}#%&~$!' -]")  # no list, table or XML needs to quote the rest


@dataclass(frozen=True)
class Record:
    """One image.

    Attributes:
        name: of its file in the new dataset; no other has its stem.
        path: of its file.
        width, height: in pixels, as annotated.
        boxes: float32 (G, 4) corner form in pixels.
        labels: int64 (G,), from 1.
        is_difficult: bool (G,).
        num_crowds: regions of crowds, which are no objects.
        coco: its entry and its annotations, crowds included, in a COCO file; None = it comes from elsewhere.
    """

    name: str
    path: Path
    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray
    is_difficult: np.ndarray
    num_crowds: int = 0
    coco: tuple[dict[str, Any], list[dict[str, Any]]] | None = None

    @property
    def stem(self) -> str:
        """The name without suffix."""
        return Path(self.name).stem


@dataclass(frozen=True)
class Content:
    """All images of a dataset.

    Attributes:
        class_names: without background; label 1 is the first.
        records: each image once.
        parts: rows of ``records`` by the name of the part; an image may be in several, or in none.
        categories: of the COCO file that all of it comes from, as labels count; None = it comes from elsewhere.
        num_outlines: polygons and masks of objects, which no part of this holds.
        renamed: old and new names of the files that cannot keep theirs.
    """

    class_names: tuple[str, ...]
    records: list[Record]
    parts: dict[str, list[int]]
    categories: list[dict[str, Any]] | None = None
    num_outlines: int = 0
    renamed: list[tuple[str, str]] = field(default_factory=list)


def collect_content(datasets: Mapping[str, DetectionDataset]) -> Content:
    """Return what datasets of the same classes hold; each is a part.

    Raises:
        ConfigError: a dataset is of a format that does not tell the files of its images.
        DatasetError: the parts say different things of an image, a name of a class cannot be written, or an image is
            missing.
    """
    class_names = next(iter(datasets.values())).class_names[1:]
    for name in class_names:
        if name != name.strip() or not name.isprintable():
            raise DatasetError(
                f"the class name {name!r} has spaces around it, or what cannot be printed; rename the class"
            )
    rows: dict[str, int] = {}
    content = Content(tuple(class_names), [], {}, _common_categories(list(datasets.values())))
    names = _Names(content.renamed)
    num_outlines = 0
    for part, dataset in datasets.items():
        if not isinstance(dataset, ArrayDataset):
            raise ConfigError(f"dataset {part!r}: its format does not tell the files of its images")
        num_outlines += _count_outlines(dataset)
        found: dict[int, None] = {}
        for index in range(len(dataset)):
            key = os.path.abspath(dataset.image_path(index))
            record = _to_record(dataset, index, with_coco=content.categories is not None)
            if key not in rows:
                rows[key] = len(content.records)
                content.records.append(replace(record, name=names.choose(record.path)))
            else:
                _require_equal(record, content.records[rows[key]])
            found[rows[key]] = None
        content.parts[part] = list(found)
    return replace(content, num_outlines=num_outlines)


def _to_record(dataset: Any, index: int, with_coco: bool) -> Record:
    path = dataset.image_path(index)
    if not path.is_file():
        raise DatasetError(f"{path}: the image does not exist", path=path, kind=MISSING)
    image_id, (boxes, labels, *rest) = dataset.get_annotation(index)
    info = dataset.get_img_info(index)
    is_difficult = rest[0] if rest else np.zeros(len(labels), dtype=bool)
    coco, num_crowds = None, 0
    if isinstance(dataset, COCODataset):
        annotations = dataset.coco.imgToAnns[image_id]
        num_crowds = sum(bool(annotation["iscrowd"]) for annotation in annotations)
        coco = (dataset.coco.imgs[image_id], annotations) if with_coco else None
    return Record(
        path.name, path, info["width"], info["height"], boxes, labels, is_difficult, num_crowds=num_crowds, coco=coco
    )


def _require_equal(one: Record, two: Record) -> None:
    for key in ("boxes", "labels", "is_difficult"):
        if not np.array_equal(getattr(one, key), getattr(two, key)):
            raise DatasetError(f"{one.path}: two parts annotate this image differently; convert them apart (--split)")


class _Names:
    """Names of files that differ by more than their suffixes and by more than upper and lower case."""

    def __init__(self, renamed: list[tuple[str, str]]):
        self._taken: set[str] = set()
        self._renamed = renamed

    def choose(self, path: Path) -> str:
        name = _UNSAFE.sub("_", path.name).strip() or "image"
        stem, suffix = os.path.splitext(name)
        folder = _UNSAFE.sub("_", path.parent.name)
        number, chosen = 1, stem
        while chosen.lower() in self._taken:
            chosen = f"{folder}_{stem}" if number == 1 else f"{folder}_{stem}_{number}"
            number += 1
        self._taken.add(chosen.lower())
        if chosen + suffix != path.name:
            self._renamed.append((path.name, chosen + suffix))
        return chosen + suffix


def _count_outlines(dataset: DetectionDataset) -> int:
    if isinstance(dataset, COCODataset):
        return sum(
            bool(item.get("segmentation") and not item["iscrowd"]) for item in dataset.coco.dataset["annotations"]
        )
    return dataset.num_polygons if isinstance(dataset, YOLODataset) else 0


def _common_categories(datasets: Sequence[DetectionDataset]) -> list[dict[str, Any]] | None:
    """The categories of COCO sets that can be put into one file as they are: labels ascend as ids do, no id is that of
    two images."""
    lists: list[Any] = []
    paths: dict[Any, str] = {}
    for dataset in datasets:
        if not isinstance(dataset, COCODataset):
            return None
        ids = dataset.contiguous_id_to_coco_id
        if list(ids) != list(range(1, len(dataset.class_names))) or list(ids.values()) != sorted(ids.values()):
            return None
        lists.append([category for category in dataset.coco.dataset["categories"] if category["id"] in ids.values()])
        for index in range(len(dataset)):
            path = os.path.abspath(dataset.image_path(index))
            if paths.setdefault(dataset.get_annotation(index)[0], path) != path:
                return None
    return lists[0] if all(item == lists[0] for item in lists) else None


def describe_losses(content: Content, *, difficult: bool, crowds: bool, outlines: bool) -> list[str]:
    """Return a sentence for each thing that a format does not hold.

    Args:
        content: what is written.
        difficult: whether the format marks difficult objects; likewise crowds and outlines.
    """
    notes = []
    num_difficult = sum(int(record.is_difficult.sum()) for record in content.records)
    num_crowds = sum(record.num_crowds for record in content.records)
    if num_difficult and not difficult:
        notes.append(
            f"{num_difficult} objects are marked difficult; here they become ordinary ones, trained on and counted."
        )
    if num_crowds and not crowds:
        notes.append(f"{num_crowds} regions of crowds are left out; what is found in them will count as wrong.")
    if content.num_outlines and not outlines:
        notes.append(f"{content.num_outlines} outlines of objects are left out; their boxes are kept.")
    if content.renamed:
        old, new = map(shorten, content.renamed[0])
        notes.append(
            f"{len(content.renamed)} images are renamed, for plain names that differ before their suffix: "
            f"{old} is {new}{', ...' if len(content.renamed) > 1 else '.'}"
        )
    return notes
