"""Input of the metrics: the protocol of a dataset, and the arrays of one image.

Legend: N detections, G ground-truth boxes. Boxes are in corner form, in pixels of the original image.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard

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
    """A dataset read from a COCO annotation file, which the COCO metric needs."""

    @property
    def coco(self) -> Any:
        """pycocotools.coco.COCO of the annotation file."""

    @property
    def contiguous_id_to_coco_id(self) -> dict[int, int]:
        """Category id by label, for the classes in the annotation file."""


def is_coco_dataset(dataset: EvaluationDataset) -> TypeGuard[CocoEvaluationDataset]:
    """Whether the dataset was read from a COCO annotation file."""
    return hasattr(dataset, "contiguous_id_to_coco_id")  # not .coco, which a dataset may load at first access


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
    """Return the checked arrays of the predictions of a whole dataset, without copying.

    Args:
        dataset: Dataset of the images.
        predictions: boxes, labels and scores of each image; CPU tensors or arrays.

    Raises:
        ValueError: A number, shape, label, box or score is invalid; the message names the index of the image.
    """
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


def _check_detections(index: int, image: ImageDetections, num_classes: int) -> None:
    boxes, labels, scores = image
    count = len(labels)
    if boxes.shape != (count, 4) or labels.shape != (count,) or scores.shape != (count,):
        shapes = f"boxes {boxes.shape}, labels {labels.shape}, scores {scores.shape}"
        raise ValueError(f"detections of image {index}: expected shapes (N, 4), (N,), (N,), got {shapes}")
    outside = (labels < 1) | (labels >= num_classes)
    if outside.any():
        raise ValueError(f"detections of image {index}: label {labels[outside][0]} is not in 1..{num_classes - 1}")
    for name, values in (("box", boxes), ("score", scores)):
        finite = np.isfinite(values)
        if not finite.all():
            raise ValueError(f"detections of image {index}: a {name} holds {values[~finite][0]}, not a finite number")
