"""Datasets in the format of COCO: a folder of images and one JSON file of annotations."""

import contextlib
import io
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ssd.data.datasets.base import AnnotatedImage, ArrayDataset
from ssd.data.datasets.folders import Layout, find_annotation_files, first_json_text
from ssd.data.datasets.paths import read_json, require_path
from ssd.data.datasets.policy import (
    MAX_COORDINATE,
    RAISE_ERRORS,
    ErrorPolicy,
    Tally,
    check_class_names,
    check_unit,
    mistake_at,
    tally_unmatched,
)
from ssd.data.datasets.sizes import find_image, is_side, true_size
from ssd.utils.errors import DatasetError, shorten

logger = logging.getLogger(__name__)

# The keys that each entry of a list of the file must have.
_KEYS = {
    "images": ("id", "file_name"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}
_MAX_ID = 2**63  # as COCO's tools keep them
_OTHER_TASKS = ("person_keypoints", "captions", "panoptic", "stuff", "image_info")


class COCODataset(ArrayDataset):
    """Images and boxes of one annotation file; see ``ArrayDataset``. Crowds are no objects, and groups no classes."""

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        ann_file: str | os.PathLike[str],
        *,
        class_names: Sequence[str] | None = None,
        metric: str = "coco",
        policy: ErrorPolicy = RAISE_ERRORS,
    ):
        self.data_dir = require_path(Path(data_dir), "image folder")
        self.ann_file = Path(ann_file)
        content, mistakes = read_coco_json(self.ann_file)
        for mistake in mistakes:
            policy.reject(mistake)
        num_listed = len(content["images"]) + sum(mistake.field.startswith("images[") for mistake in mistakes)
        category_names = {category["id"]: category["name"] for category in content["categories"]}
        groups, others = _split_categories(content)
        self.category_ids = {category_names[number]: number for number in [*groups, *others]}
        # Supercategories without annotations, such as the first of Roboflow's, are left out.
        if groups and class_names is None:
            left_out = ", ".join(category_names[number] for number in groups)
            logger.info("%s: categories that only group others, left out: %s", ann_file, left_out)
        written_names = check_class_names([category_names[i] for i in others], f"{self.ann_file}: categories")
        class_names = tuple(class_names or written_names)
        if not num_listed:
            raise DatasetError(f"{self.ann_file}: 'images' is empty", path=self.ann_file, field="images")
        check_unit(np.array([item["bbox"] for item in content["annotations"]]), self.ann_file)
        tallies = self._count_unmatched(content)
        objects = self._objects_by_image(content, category_names, policy)
        images = []
        self._images = []
        for image in content["images"]:
            try:
                images.append(self._to_image(image, objects[image["id"]], category_names, policy))
                self._images.append(image)
            except DatasetError as error:
                policy.reject(error)
        super().__init__(
            images,
            class_names=class_names,
            metric=metric,
            place=self.ann_file,
            policy=policy,
            num_listed=num_listed,
            tallies=tallies,
        )

    @property
    def contiguous_id_to_coco_id(self) -> dict[int, int]:
        """Category id of each label that the file has."""
        ids = self.category_ids
        return {label: ids[name] for label, name in enumerate(self.class_names) if name in ids}

    @cached_property
    def coco(self) -> Any:
        """The file as ``pycocotools.coco.COCO``. It is read when it is first used, so workers of a training lack it."""
        from pycocotools.coco import COCO

        coco = COCO()
        coco.dataset, _ = read_coco_json(self.ann_file)
        _complete_annotations(coco.dataset["annotations"])
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        return coco

    def get_img_info(self, index: int) -> dict[str, Any]:
        """Return the entry of the image in the file, with ``height`` and ``width`` in pixels."""
        return self._images[index] | super().get_img_info(index)

    def _count_unmatched(self, content: Mapping[str, Any]) -> list[Tally]:
        """Count images without annotation, annotations of images that are not listed, and regions of crowds."""
        ids, annotations = {image["id"] for image in content["images"]}, content["annotations"]
        lost = [item for item in annotations if item["image_id"] not in ids]
        example = f"{self.ann_file}: {_field(lost[0])}" if lost else ""
        if ids and lost and len(lost) == len(annotations):
            raise DatasetError(
                f"{example}: none of {len(lost)} annotations has an image_id of 'images'", path=self.ann_file
            )
        num_images = len(ids - {item["image_id"] for item in annotations})
        num_crowds = sum(bool(item.get("iscrowd")) and item["image_id"] in ids for item in annotations)
        counts = [int(not item.get("iscrowd")) for item in lost]
        return [*tally_unmatched(num_images, counts, example), Tally("regions of crowds", num_crowds)]

    def _objects_by_image(
        self, content: Mapping[str, Any], names: Mapping[Any, str], policy: ErrorPolicy
    ) -> dict[Any, list[dict[str, Any]]]:
        """Return the annotations by image id, without those of images that are not listed."""
        objects: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            if annotation.get("iscrowd", 0) or annotation["image_id"] not in objects:
                continue
            if annotation["category_id"] in names:
                objects[annotation["image_id"]].append(annotation)
            else:
                problem = f"category_id {annotation['category_id']!r} is missing in 'categories'; it has "
                problem += shorten(sorted(names))[1:-1]
                policy.reject(mistake_at(self.ann_file, _field(annotation), problem, kind="unknown class"))
        return objects

    def _to_image(
        self,
        image: Mapping[str, Any],
        objects: Sequence[Mapping[str, Any]],
        names: Mapping[Any, str],
        policy: ErrorPolicy,
    ) -> AnnotatedImage:
        field = f"image {shorten(image['id'])}"
        path = find_image(self.data_dir, [image["file_name"]], self.ann_file, field)
        width: Any = image.get("width")
        height: Any = image.get("height")
        if not (is_side(width) and is_side(height)):
            width = height = 0  # as if they were missing
        bboxes = [item["bbox"] for item in objects]
        boxes = np.array(bboxes, dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]  # x, y, width, height to corner form
        return AnnotatedImage(
            image["id"],
            path,
            true_size(int(width), int(height), boxes, path, policy),
            names=[names[item["category_id"]] for item in objects],
            boxes=boxes,
            source=self.ann_file,
            fields=[_field(item) for item in objects],
            written=bboxes,
        )


def _split_categories(content: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """Return the ids of the categories that only group others, and those of the others, ascending."""
    used = {annotation["category_id"] for annotation in content["annotations"]}
    groups_of = {category["id"]: str(category.get("supercategory")) for category in content["categories"]}
    num_members = Counter(groups_of.values())
    names = sorted((category["id"], category["name"]) for category in content["categories"])
    is_group = {i: i not in used and num_members[name] > (groups_of[i] == name) for i, name in names}  # not of itself
    return [i for i, _ in names if is_group[i]], [i for i, _ in names if not is_group[i]]


def _field(annotation: Mapping[str, Any]) -> str:
    """Return the place of an annotation in the file."""
    number = annotation.get("id")
    name = f"annotation {number}" if is_id(number) else "an annotation"
    return f"{name} of image {annotation['image_id']}"


def _complete_annotations(annotations: list[dict[str, Any]]) -> None:
    """Add the keys that pycocotools requires and hand-made files lack."""
    for annotation in annotations:
        if annotation.get("iscrowd") is None:
            annotation["iscrowd"] = 0
        if annotation.get("area") is None:
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    ids = {annotation["id"] if is_id(annotation.get("id")) else 0 for annotation in annotations}
    if len(ids) < len(annotations) or 0 in ids:  # to COCOeval, a match with id 0 is no match
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number


def read_coco_json(path: Path) -> tuple[dict[str, Any], list[DatasetError]]:
    """Read an annotation file; return its content without malformed entries, and the error of each of these.

    Entries of ``images``, ``annotations`` and ``categories`` have the keys that they need; ids are hashable, and unique
    among images and among categories; boxes are four finite numbers.
    """
    content = read_json(path, "annotation file")
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: not COCO annotations: expected an object with {', '.join(_KEYS)}", path=path)
    mistakes: list[DatasetError] = []
    for section in _KEYS:
        entries = content.get(section)
        if not isinstance(entries, list):
            raise mistake_at(
                path, section, f"no list, which COCO annotations need; keys found: {shorten(list(content))}"
            )
        content[section], wrong = _check_entries(entries, section, path)
        mistakes += wrong
    return content, mistakes


def _check_entries(entries: list[Any], section: str, path: Path) -> tuple[list[dict[str, Any]], list[DatasetError]]:
    """Return the sound entries of a list, and the errors of the others."""
    sound, mistakes, ids = [], [], set()
    for number, entry in enumerate(entries):
        fault = _fault(entry, _KEYS[section])
        if not fault and section != "annotations":
            if entry["id"] in ids:
                fault = f"has the id {entry['id']!r} of another entry"
            ids.add(entry["id"])
        if fault:
            mistakes.append(mistake_at(path, f"{section}[{number}]", f"{fault}; it is {shorten(entry)}"))
        else:
            sound.append(entry)
    return sound, mistakes


def _fault(entry: Any, keys: tuple[str, ...]) -> str:
    """Return a description of the problem of an entry; empty = none."""
    missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
    if missing:
        return f"lacks {', '.join(missing)}"
    for key in keys:
        value = entry[key]
        if key in ("id", "image_id", "category_id") and not is_id(value):
            return f"has {key} {shorten(value)}, which must be a whole number"
        if key in ("file_name", "name") and not isinstance(value, str):
            return f"has {key} {shorten(value)}, which must be a string; put it in quotes"
        if key == "bbox" and not (isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))):
            return f"of image {entry['image_id']} has bbox {shorten(value)}; it must be [x, y, width, height] in pixels"
    for key in ("area", "iscrowd"):
        if entry.get(key) is not None and not _is_number(entry[key]):
            return f"has {key} {shorten(entry[key])}, which must be a number"
    return ""


def is_id(value: Any) -> bool:
    """Return whether ``value`` is an id as COCO defines it, a whole number; pandas writes these as floats."""
    return type(value) in (int, float) and abs(value) < _MAX_ID and value == int(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and -MAX_COORDINATE <= value <= MAX_COORDINATE  # false for inf and nan


def find_coco(root: Path) -> Layout:
    """Look for annotation files as the challenge, Roboflow, CVAT and Label Studio place them."""
    return find_annotation_files(root, "COCO", ".json", _first_image)


def _first_image(path: Path) -> list[str]:
    name = None if path.name.startswith(_OTHER_TASKS) else first_json_text(path, "file_name", _KEYS)
    return [] if name is None else [name]
