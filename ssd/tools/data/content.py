"""Content of datasets in any format: images with their boxes, and the parts that they are in. G objects of an image."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ssd.data.datasets import ArrayDataset, COCODataset, DetectionDataset, YOLODataset
from ssd.data.datasets.policy import SkipErrors
from ssd.data.datasets.sizes import MISSING, true_size
from ssd.utils.errors import ConfigError, DatasetError

_UNSAFE = re.compile(r"[^\w.,+=@()\[\]{}#%&~$!' -]")  # no list, table or XML needs to quote the rest


@dataclass(frozen=True)
class Record:
    """One image, with its objects."""

    name: str  # of the file in the new dataset; no other has its stem
    path: Path
    width: int  # annotated size in pixels
    height: int
    boxes: np.ndarray  # float32 (G, 4) corner form in pixels
    labels: np.ndarray  # int64 (G,), from 1
    is_difficult: np.ndarray  # bool (G,)
    coco: tuple[dict[str, Any], list[dict[str, Any]]] | None = None  # its entry and annotations in a COCO file

    @property
    def stem(self) -> str:
        """The name without suffix."""
        return Path(self.name).stem


@dataclass(frozen=True)
class Content:
    """All images of a dataset."""

    class_names: tuple[str, ...]  # without background; label 1 is the first
    records: list[Record]
    parts: dict[str, list[int]]  # rows of the records by the name of the part; an image may be in several, or in none
    categories: list[dict[str, Any]] | None = None  # of the COCO file that all images come from; None = not kept
    num_polygons: int = 0  # in YOLO rows; only their boxes are kept


def collect_content(datasets: Mapping[str, DetectionDataset]) -> Content:
    """Return the content of datasets of the same classes; each is a part."""
    class_names = next(iter(datasets.values())).class_names[1:]
    for name in class_names:
        if name != name.strip() or not name.isprintable():
            raise DatasetError(f"class name {name!r}: spaces around it or unprintable characters; rename the class")
    categories = _common_categories(list(datasets.values()))
    num_polygons = sum(dataset.num_polygons for dataset in datasets.values() if isinstance(dataset, YOLODataset))
    content = Content(tuple(class_names), [], {}, categories, num_polygons)
    rows: dict[str, int] = {}
    taken: set[str] = set()
    for part, dataset in datasets.items():
        if not isinstance(dataset, ArrayDataset):
            raise ConfigError(f"dataset {part!r}: its format has no paths of image files")
        keys = [os.path.abspath(dataset.image_path(index)) for index in range(len(dataset))]
        for index, key in enumerate(keys):
            record = _to_record(dataset, index)
            if key not in rows:
                rows[key] = len(content.records)
                content.records.append(replace(record, name=_choose_name(record.path, taken)))
            elif not _is_equal(record, content.records[rows[key]]):
                raise DatasetError(
                    f"{record.path}: two parts annotate this image differently; convert them one by one (--split)"
                )
        content.parts[part] = [rows[key] for key in dict.fromkeys(keys)]
    return content


def _to_record(dataset: Any, index: int) -> Record:
    path = dataset.image_path(index)
    if not path.is_file():
        raise DatasetError(f"{path}: the image does not exist", path=path, kind=MISSING)
    image_id, (boxes, labels, *rest) = dataset.get_annotation(index)
    info = dataset.get_img_info(index)
    true_size(info["width"], info["height"], boxes, path, SkipErrors())  # which reads the header
    is_difficult = rest[0] if rest else np.zeros(len(labels), dtype=bool)
    is_coco = isinstance(dataset, COCODataset)
    coco = (dataset.coco.imgs[image_id], dataset.coco.imgToAnns[image_id]) if is_coco else None
    return Record(path.name, path, info["width"], info["height"], boxes, labels, is_difficult, coco)


def _is_equal(one: Record, two: Record) -> bool:
    return all(np.array_equal(getattr(one, key), getattr(two, key)) for key in ("boxes", "labels", "is_difficult"))


def _choose_name(path: Path, taken: set[str]) -> str:
    """A file name whose stem, in lower case, is not ``taken``; adds it there."""
    stem, suffix = os.path.splitext(_UNSAFE.sub("_", path.name).strip() or "image")
    folder = _UNSAFE.sub("_", path.parent.name)
    number, chosen = 1, stem
    while chosen.lower() in taken:
        chosen = f"{folder}_{stem}" if number == 1 else f"{folder}_{stem}_{number}"
        number += 1
    taken.add(chosen.lower())
    return chosen + suffix


def _common_categories(datasets: Sequence[DetectionDataset]) -> list[dict[str, Any]] | None:
    """Categories of COCO sets that fit into one file unchanged: labels ascend with ids, no two images share an id."""
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
