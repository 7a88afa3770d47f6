"""Input of the metrics: the protocol of a dataset, and the arrays of one image.

Legend: N detections, G ground-truth boxes. Boxes are in corner form, in pixels of the original image.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from ssd.structures import Container


class EvaluationDataset(Protocol):
    """A dataset with annotations; enough for the VOC metrics."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by label; entry 0 is the background."""

    @property
    def metric(self) -> str:
        """Default metric: voc07, voc or coco."""

    def __len__(self) -> int: ...

    def get_annotation(self, index: int, /) -> tuple[Any, tuple[np.ndarray, ...]]:
        """Return the image id and (boxes (G, 4), labels (G,)) or (boxes, labels, is_difficult (G,)) of one image."""


class CocoEvaluationDataset(EvaluationDataset, Protocol):
    """A dataset read from a COCO annotation file, or seen as one (``as_coco_dataset``)."""

    @property
    def coco(self) -> Any:
        """pycocotools.coco.COCO of the annotation file."""

    @property
    def contiguous_id_to_coco_id(self) -> dict[int, int]:
        """Category id by label, for the classes in the annotation file."""


def has_inclusive_pixels(dataset: EvaluationDataset) -> bool:
    """Whether x2 and y2 are the last pixel inside a box, as in the files of VOC, not its right and bottom edge."""
    return bool(getattr(dataset, "inclusive_pixels", False))


def as_coco_dataset(dataset: EvaluationDataset) -> CocoEvaluationDataset:
    """Return the dataset, or a view for the COCO metric if it was not read from a COCO annotation file."""
    is_coco = hasattr(dataset, "contiguous_id_to_coco_id")  # not .coco, which a dataset may load at first access
    return cast(CocoEvaluationDataset, dataset) if is_coco else _CocoView(dataset)


class _CocoView:
    """A dataset of another format: images are numbered from 1, category ids are labels, difficult objects are crowds.

    Width and height of a box are the differences of its corners, as ``ssd data convert`` writes them.
    """

    def __init__(self, dataset: EvaluationDataset):
        self.class_names, self.metric = dataset.class_names, dataset.metric
        self.contiguous_id_to_coco_id = {label: label for label in range(1, len(dataset.class_names))}
        self._dataset = dataset
        annotations = (read_annotation(dataset, index) for index in range(len(dataset)))
        objects = {number: _coco_annotations(number, found) for number, found in enumerate(annotations, start=1)}
        content = {
            "images": [{"id": image_id} for image_id in objects],
            "categories": [{"id": label, "name": self.class_names[label]} for label in self.contiguous_id_to_coco_id],
            "annotations": [annotation for found in objects.values() for annotation in found],
        }
        self.coco: Any = SimpleNamespace(dataset=content, imgToAnns=objects)

    def __len__(self) -> int:
        return len(self._dataset)

    def get_annotation(self, index: int, /) -> tuple[Any, tuple[np.ndarray, ...]]:
        return index + 1, self._dataset.get_annotation(index)[1]


class ImageDetections(NamedTuple):
    """Detections of one image: boxes (N, 4), labels (N,) from 1, scores (N,)."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


class ImageAnnotation(NamedTuple):
    """Objects of one image: boxes (G, 4), labels (G,) from 1, is_difficult (G,) bool."""

    boxes: np.ndarray
    labels: np.ndarray
    is_difficult: np.ndarray


def read_predictions(dataset: EvaluationDataset, predictions: Sequence[Container]) -> list[ImageDetections]:
    """Return the arrays of the predictions of a dataset, without copying; ValueError names the image of a wrong one."""
    if len(predictions) != len(dataset):
        raise ValueError(f"{len(predictions)} predictions were given for the {len(dataset)} images of the dataset")
    detections = [ImageDetections(*(np.asarray(p[name]) for name in ImageDetections._fields)) for p in predictions]
    for index, image in enumerate(detections):
        _check_detections(index, image, len(dataset.class_names))
    return detections


def read_annotation(dataset: EvaluationDataset, index: int) -> ImageAnnotation:
    """Return the objects of one image; none is difficult if the dataset does not say so."""
    boxes, labels, *rest = dataset.get_annotation(index)[1]
    is_difficult = rest[0].astype(bool) if rest else np.zeros(len(labels), dtype=bool)
    return ImageAnnotation(boxes, labels, is_difficult)


def _coco_annotations(image_id: int, objects: ImageAnnotation) -> list[dict[str, Any]]:
    sizes = objects.boxes[:, 2:] - objects.boxes[:, :2]
    boxes = np.concatenate([objects.boxes[:, :2], sizes], axis=1).astype(np.float64).tolist()
    rows = zip(boxes, objects.labels.tolist(), objects.is_difficult.tolist(), strict=True)
    return [
        {"image_id": image_id, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": int(is_difficult)}
        for box, label, is_difficult in rows
    ]


def _check_detections(index: int, image: ImageDetections, num_classes: int) -> None:
    outside = (image.labels < 1) | (image.labels >= num_classes)
    if outside.any():
        raise ValueError(
            f"detections of image {index}: label {image.labels[outside][0]} is not in 1..{num_classes - 1}"
        )
    if not all(np.isfinite(values).all() for values in (image.boxes, image.scores)):
        raise ValueError(f"detections of image {index}: a box or score is not a finite number")
