"""Datasets in the format of COCO: a folder of images and one JSON file of annotations.

Legend: N annotations of the file.
"""

import contextlib
import io
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssd.data.datasets.array_dataset import ArrayDataset
from ssd.data.datasets.checks import (
    MAX_COORDINATE,
    check_class_names,
    drop_bad_boxes,
    unknown_class_error,
)
from ssd.data.datasets.coco_json import is_id, read_coco_json
from ssd.data.datasets.paths import path_inside, require_path
from ssd.data.datasets.policy import RAISE_ERRORS, ErrorPolicy
from ssd.data.datasets.sizes import SIZE_SLIP, true_size
from ssd.utils.errors import DatasetError, shorten

if TYPE_CHECKING:
    from pycocotools.coco import COCO

# The eighty classes of the challenge, by ascending category id.
COCO_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis",
    "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier",
    "toothbrush",
)  # fmt: skip


class COCODataset(ArrayDataset):
    """Images and boxes of one annotation file; see ``ArrayDataset``.

    Images without objects are kept, crowd regions are no objects.

    Args:
        data_dir: the folder of the images.
        ann_file: the JSON file.
        class_names: background first; None = the categories of the file by ascending id.
        metric: see ``DetectionDataset``.
        policy: decides about malformed entries, and images that are missing or not in the folder.

    Attributes:
        contiguous_id_to_coco_id: category id of each label that the file knows.

    Raises:
        DatasetError: a path is missing, or the file is malformed or has annotations of an unknown class.
    """

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
        self.metric = metric
        self.num_listed = 0

        def reject(error: DatasetError) -> None:
            policy.reject(error)
            self.num_listed += error.field.startswith("images[")

        content = read_coco_json(self.ann_file, reject)
        self._set_classes(content["categories"], class_names)
        self.num_listed += len(content["images"])
        if not content["images"]:
            raise DatasetError(f"{self.ann_file}: 'images' is empty", path=self.ann_file, field="images")
        objects = self._objects_by_image(content, policy)
        self._set_images(content["images"], objects, policy)
        self._set_objects([objects[image["id"]] for image in self._images], policy)

    def image_path(self, index: int) -> Path:
        """Return the file of an image."""
        return self.data_dir / self._images[index]["file_name"]

    @cached_property
    def coco(self) -> "COCO":
        """The file as pycocotools sees it, read when first asked for: training does not carry it to its workers."""
        from pycocotools.coco import COCO

        coco = COCO()
        coco.dataset = read_coco_json(self.ann_file, lambda _: None)  # the policy has decided before
        _complete_annotations(coco.dataset)
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        return coco

    def get_img_info(self, index: int) -> dict[str, Any]:
        """Return the image's entry of the file, with ``height`` and ``width`` in pixels."""
        return self._images[index] | super().get_img_info(index)

    def _set_classes(self, categories: Sequence[Mapping[str, Any]], class_names: Sequence[str] | None) -> None:
        """The names of the labels, and the category that each of them is in the file."""
        place = f"{self.ann_file}: categories"
        by_id = sorted(categories, key=lambda category: category["id"])
        written_names = check_class_names([category["name"] for category in by_id], place)
        self.class_names = tuple(class_names or written_names)
        label_of = {name: label for label, name in enumerate(self.class_names) if label > 0}
        self.contiguous_id_to_coco_id = {
            label_of[category["name"]]: category["id"] for category in by_id if category["name"] in label_of
        }

    def _objects_by_image(self, content: Mapping[str, Any], policy: ErrorPolicy) -> dict[Any, list[dict[str, Any]]]:
        """The annotations of known classes by image id. Images that are not listed belong to another split."""
        names = {category["id"]: category["name"] for category in content["categories"]}
        known = set(self.contiguous_id_to_coco_id.values())
        objects: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            if annotation.get("iscrowd", 0) or annotation["image_id"] not in objects:
                continue
            if annotation["category_id"] in known:
                objects[annotation["image_id"]].append(annotation)
            else:
                policy.reject(self._unknown_class_error(annotation, names))
        return objects

    def _unknown_class_error(self, annotation: Mapping[str, Any], names: Mapping[Any, str]) -> DatasetError:
        category_id, field = annotation["category_id"], _field(annotation)
        place = f"{self.ann_file}: {field}"
        if category_id in names:
            return unknown_class_error(place, names[category_id], self.class_names, path=self.ann_file, field=field)
        return DatasetError(
            f"{place} has category_id {category_id!r}, which 'categories' lacks; it has {shorten(sorted(names))[1:-1]}",
            path=self.ann_file,
            field=field,
            kind="unknown class",
        )

    def _set_images(
        self,
        images: Sequence[dict[str, Any]],
        objects: Mapping[Any, Sequence[Mapping[str, Any]]],
        policy: ErrorPolicy,
    ) -> None:
        """Keep the images that can be used, and their sizes."""
        self._images, sizes = [], []
        for image in images:
            try:
                path = self._checked_path(image)
                width, height = self._annotated_size(image, policy)
                sizes.append(true_size(width, height, _corner_form(objects[image["id"]]), path, policy))
            except DatasetError as error:
                policy.reject(error)
            else:
                self._images.append(image)
        if not self._images:
            raise DatasetError(f"{self.ann_file}: none of {self.num_listed} images can be used", path=self.ann_file)
        self._sizes = np.array(sizes)
        self.ids = [image["id"] for image in self._images]

    def _checked_path(self, image: Mapping[str, Any]) -> Path:
        path = path_inside(str(self.data_dir), image["file_name"])
        if path is None:
            field = f"image {shorten(image['id'])}"
            raise DatasetError(
                f"{self.ann_file}: {field}: the file_name {shorten(image['file_name'])} is no file inside "
                f"{self.data_dir}; name a folder that holds all images, and the files relative to it",
                path=self.ann_file,
                field=field,
            )
        return Path(path)

    def _annotated_size(self, image: Mapping[str, Any], policy: ErrorPolicy) -> tuple[int, int]:
        """(width, height) in pixels; (0, 0) if the file does not say, or what no image can have."""
        sides = image.get("width"), image.get("height")
        if all(_is_side(side) for side in sides):
            return int(sides[0]), int(sides[1])  # type: ignore[arg-type]
        if any(side not in (None, 0) for side in sides):
            field = f"image {shorten(image['id'])}"
            message = f"{self.ann_file}: {field} has width {shorten(sides[0])} and height {shorten(sides[1])}"
            policy.note(DatasetError(message, path=self.ann_file, field=field, kind=SIZE_SLIP))
        return 0, 0

    def _set_objects(self, objects_of_images: Sequence[Sequence[Mapping[str, Any]]], policy: ErrorPolicy) -> None:
        """Keep the objects of all images."""
        objects = [item for objects in objects_of_images for item in objects]
        image_rows = np.repeat(np.arange(len(self)), [len(objects) for objects in objects_of_images])

        def note(row: int, problem: str) -> None:
            field = _field(objects[row])
            message = f"{self.ann_file}: {field}: the box {objects[row]['bbox']} is {problem}"
            policy.note(DatasetError(message, path=self.ann_file, field=field, kind=f"box {problem}"))

        boxes, keep = drop_bad_boxes(
            _corner_form(objects),
            self._sizes[image_rows],
            place=str(self.ann_file),
            describe=lambda row: f"{self._images[image_rows[row]]['file_name']} {objects[row]['bbox']}",
            note=note if policy.wants_notes else None,
        )
        label_of = {category_id: label for label, category_id in self.contiguous_id_to_coco_id.items()}
        self._store(boxes, [label_of[item["category_id"]] for item in objects], image_rows, keep)


def _field(annotation: Mapping[str, Any]) -> str:
    """Which annotation of the file it is, as far as it says."""
    number = f"annotation {shorten(annotation['id'])}" if "id" in annotation else "an annotation"
    return f"{number} of image {shorten(annotation['image_id'])}"


def _is_side(value: Any) -> bool:
    """Whether ``value`` can be the width of an image in pixels; nan compares as false."""
    return type(value) in (int, float) and 1 <= value <= MAX_COORDINATE and value == int(value)


def _corner_form(objects: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The bounding boxes, float64 (N, 4) corner form in pixels."""
    xywh = np.array([item["bbox"] for item in objects], dtype=np.float64).reshape(-1, 4)
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def _complete_annotations(content: dict[str, Any]) -> None:
    """Add what pycocotools takes for granted and hand-made files leave out."""
    annotations = content["annotations"]
    for annotation in annotations:
        if annotation.get("iscrowd") is None:
            annotation["iscrowd"] = 0
        if annotation.get("area") is None:
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    ids = {annotation["id"] if is_id(annotation.get("id")) else 0 for annotation in annotations}
    if len(ids) < len(annotations) or 0 in ids:  # to COCOeval, a match with id 0 is no match
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number
