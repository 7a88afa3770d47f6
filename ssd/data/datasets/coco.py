"""Datasets in the format of COCO: a folder of images and one JSON file of annotations.

Legend: N annotations of the file.
"""

import contextlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

from ssd.data.datasets.base import Sample
from ssd.data.datasets.checks import (
    check_class_names,
    drop_bad_boxes,
    read_annotated_image,
    require_path,
    split_by_image,
    true_size,
    unknown_class_error,
)
from ssd.structures import Container
from ssd.utils.errors import DatasetError

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

# The keys that each entry of a list of the file must have.
_KEYS = {
    "images": ("id", "file_name"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


class COCODataset(Dataset[Sample]):
    """Images and boxes of one annotation file; see ``DetectionDataset`` for the interface.

    Images without objects are kept, crowd regions are no objects.

    Args:
        data_dir: the folder of the images.
        ann_file: the JSON file.
        class_names: background first; None = the categories of the file by ascending id.
        metric: see ``DetectionDataset``.

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
    ):
        self.data_dir = require_path(Path(data_dir), "image folder")
        self.ann_file = require_path(Path(ann_file), "annotation file")
        self.metric = metric
        content = read_coco_json(self.ann_file)
        category_names = {category["id"]: category["name"] for category in content["categories"]}
        written = [category_names[category_id] for category_id in sorted(category_names)]
        written_names = check_class_names(written, f"{self.ann_file}: categories")
        self.class_names = tuple(class_names or written_names)
        self.contiguous_id_to_coco_id = {
            self.class_names.index(name): category_id
            for category_id, name in sorted(category_names.items())
            if name in self.class_names[1:]
        }
        self._images = content["images"]
        if not self._images:
            raise DatasetError(f"{self.ann_file}: 'images' is empty")
        self._set_objects(content["annotations"], category_names)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        return self.read_image(index)[0], self.get_target(index), index

    def get_target(self, index: int) -> Container:
        """Return the objects to train on: boxes float32 (G, 4) corner form in pixels, labels int64 (G,)."""
        _, (boxes, labels) = self.get_annotation(index)
        return Container(boxes=boxes, labels=labels)

    def read_image(self, index: int, reduction: int = 1) -> tuple[np.ndarray, int]:
        """Return the image and the reduction that was applied, see ``read_reduced_image``."""
        width, height = self._sizes[index].tolist()
        return read_annotated_image(self.data_dir / self._images[index]["file_name"], width, height, reduction)

    @cached_property
    def coco(self) -> "COCO":
        """The file as pycocotools sees it, read when first asked for: training does not carry it to its workers."""
        from pycocotools.coco import COCO

        coco = COCO()
        coco.dataset = read_coco_json(self.ann_file)
        _complete_annotations(coco.dataset)
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        return coco

    def get_annotation(self, index: int) -> tuple[int, tuple[np.ndarray, np.ndarray]]:
        """Return (image id, (boxes, labels)).

        Returns:
            boxes float32 (G, 4) corner form in pixels, labels int64 (G,).
        """
        rows = slice(self._offsets[index], self._offsets[index + 1])
        return self._images[index]["id"], (self._boxes[rows].copy(), self._labels[rows].copy())

    def get_img_info(self, index: int) -> dict[str, Any]:
        """Return the image's entry of the file, with ``height`` and ``width`` in pixels."""
        width, height = self._sizes[index].tolist()
        return {**self._images[index], "height": height, "width": width}

    def _size(self, image: Mapping[str, Any], boxes: np.ndarray) -> tuple[int, int]:
        width, height = image.get("width"), image.get("height")
        if not (isinstance(width, int) and isinstance(height, int)):
            width = height = 0
        return true_size(width, height, boxes, self.data_dir / image["file_name"])

    def _set_objects(self, annotations: Sequence[Mapping[str, Any]], category_names: Mapping[int, str]) -> None:
        """Keep the objects of all images as flat arrays, which worker processes share without copying."""
        objects = [annotation for annotation in annotations if not annotation.get("iscrowd", 0)]
        row_of_image = {image["id"]: row for row, image in enumerate(self._images)}
        # Annotations of images that are not listed belong to another split, as in pycocotools.
        objects = [annotation for annotation in objects if annotation["image_id"] in row_of_image]
        objects.sort(key=lambda annotation: row_of_image[annotation["image_id"]])
        image_rows = np.array([row_of_image[annotation["image_id"]] for annotation in objects], dtype=np.int64)
        labels = self._labels_of(objects, category_names)
        written = _corner_form(objects, self.ann_file)
        boxes_of_images = np.split(written, split_by_image(image_rows, len(self._images))[1:-1])
        self._sizes = np.array(
            [self._size(image, boxes) for image, boxes in zip(self._images, boxes_of_images, strict=True)]
        )  # (images, 2) width and height in pixels
        boxes, keep = drop_bad_boxes(
            written,
            self._sizes[image_rows],
            place=str(self.ann_file),
            describe=lambda row: f"{self._images[image_rows[row]]['file_name']} {objects[row]['bbox']}",
        )
        self._boxes, self._labels = boxes[keep], labels[keep]
        self._offsets = split_by_image(image_rows[keep], len(self._images))

    def _labels_of(self, objects: Sequence[Mapping[str, Any]], category_names: Mapping[int, str]) -> np.ndarray:
        label_of = {category_id: label for label, category_id in self.contiguous_id_to_coco_id.items()}
        labels = np.array([label_of.get(item["category_id"], 0) for item in objects], dtype=np.int64)
        for row in np.flatnonzero(labels == 0)[:1]:
            category_id = objects[row]["category_id"]
            place = f"{self.ann_file}: an annotation of image {objects[row]['image_id']}"
            if category_id not in category_names:
                known = ", ".join(str(known_id) for known_id in sorted(category_names))
                raise DatasetError(f"{place} has category_id {category_id}, which 'categories' lacks; it has {known}")
            raise unknown_class_error(place, category_names[category_id], self.class_names)
        return labels


def read_coco_json(path: Path) -> dict[str, Any]:
    """Read an annotation file and check that every entry has the keys that it needs.

    Raises:
        DatasetError: the file is no JSON, or a key is missing.
    """
    try:
        content = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not JSON text: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: not COCO annotations: expected an object with {', '.join(_KEYS)}")
    for section, keys in _KEYS.items():
        entries = content.get(section)
        if not isinstance(entries, list):
            raise DatasetError(f"{path}: not COCO annotations: needs a list {section!r}; keys found: {list(content)}")
        for number, entry in enumerate(entries):
            missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
            if missing:
                raise DatasetError(f"{path}: {section}[{number}] lacks {', '.join(missing)}; it is {str(entry)[:200]}")
    return content


def _corner_form(objects: Sequence[Mapping[str, Any]], ann_file: Path) -> np.ndarray:
    """The bounding boxes, float64 (N, 4) corner form in pixels."""
    boxes = [item["bbox"] for item in objects]
    try:
        xywh = np.array(boxes, dtype=np.float64).reshape(len(boxes), 4)
    except (TypeError, ValueError):
        xywh = np.full((len(boxes), 4), np.nan)
    if not np.isfinite(xywh).all():
        bad = next(item for item in objects if not _is_box(item["bbox"]))
        raise DatasetError(
            f"{ann_file}: an annotation of image {bad['image_id']} has bbox {bad['bbox']!r}; "
            "it must be [x, y, width, height] in pixels"
        )
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def _is_box(bbox: Any) -> bool:
    return (
        isinstance(bbox, list)
        and len(bbox) == 4
        and all(isinstance(value, int | float) and np.isfinite(value) for value in bbox)
    )


def _complete_annotations(content: dict[str, Any]) -> None:
    """Add what pycocotools takes for granted and hand-made files leave out."""
    annotations = content["annotations"]
    for annotation in annotations:
        annotation.setdefault("iscrowd", 0)
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
    ids = {annotation.get("id") for annotation in annotations}
    if len(ids) < len(annotations) or not ids.isdisjoint({None, 0}):  # to COCOeval, a match with id 0 is no match
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number
