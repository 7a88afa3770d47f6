"""All detections and objects of a dataset as flat arrays, and which of them overlap.

Legend: D detections, G objects, K pairs of a detection and an object of the same image. Boxes are in corner form, in
pixels of the original image.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ssd.evaluation.inputs import (
    CocoEvaluationDataset,
    EvaluationDataset,
    ImageDetections,
    is_coco_dataset,
    read_annotation,
)
from ssd.evaluation.voc import box_iou

MIN_OVERLAP = 0.1  # IoU of what TIDE calls background (Bolya et al., ECCV 2020, Sec. 2.2); pairs below it are not kept
_COCO_MAX_DETECTIONS = 100  # of a class and image, best first, that COCO's figures look at
# Shape and dtype of the columns of DetectionTable and ObjectTable where there is none.
_DETECTION_COLUMNS: Any = ((0, np.int64), ((0, 4), np.float64), (0, np.float64), (0, np.int64), (0, np.float32))
_OBJECT_COLUMNS: Any = (*_DETECTION_COLUMNS[:4], (0, np.bool_), (0, np.bool_))


class DetectionTable(NamedTuple):
    """images (D,) by index in the dataset, boxes (D, 4) float64, areas (D,), labels (D,) from 1, scores (D,)."""

    images: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


class ObjectTable(NamedTuple):
    """images (G,), boxes (G, 4) float64, areas (G,), labels (G,) from 1, is_ignored (G,), is_crowd (G,).

    Ignored objects, VOC's difficult ones and COCO's crowds, need not be found. A crowd takes any number of detections.
    """

    images: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    labels: np.ndarray
    is_ignored: np.ndarray
    is_crowd: np.ndarray


class PairTable(NamedTuple):
    """detections (K,) and objects (K,) by their rows, iou (K,) of MIN_OVERLAP or more; by ascending detection."""

    detections: np.ndarray
    objects: np.ndarray
    iou: np.ndarray


class Tables(NamedTuple):
    """What was detected and what there is, in the order in which the metric ranks equal scores.

    Attributes:
        metric: voc07, voc or coco; by its rules detections and objects are matched.
        class_names: by label, the background first.
        num_images: of the dataset.
        detections: those that the metric counts.
        objects: those that the metric knows.
        pairs: detections and objects that overlap. With a crowd, the part of the detection that lies in it counts.
    """

    metric: str
    class_names: tuple[str, ...]
    num_images: int
    detections: DetectionTable
    objects: ObjectTable
    pairs: PairTable

    @property
    def num_classes(self) -> int:
        """Classes including background."""
        return len(self.class_names)

    def count_objects(self, is_ignored: np.ndarray | None = None) -> np.ndarray:
        """Return the number (C,) of objects to find by label; ``is_ignored`` (G,) replaces that of the table."""
        ignored = self.objects.is_ignored if is_ignored is None else is_ignored
        return np.bincount(self.objects.labels[~ignored], minlength=self.num_classes)


def make_tables(dataset: EvaluationDataset, detections: Sequence[ImageDetections], metric: str) -> Tables:
    """Build the tables of a dataset.

    Args:
        dataset: what was predicted.
        detections: see ``read_detections``.
        metric: see ``resolve_metric``.
    """
    if metric == "coco":
        assert is_coco_dataset(dataset)
        return _make_coco_tables(dataset, detections)
    inclusive_pixels = not is_coco_dataset(dataset)  # as in ``evaluate``
    found, truth, pairs = [], [], []
    for index, image in enumerate(detections):
        annotation = read_annotation(dataset, index)
        found.append(_detection_rows(index, image, inclusive_pixels))
        boxes = annotation.boxes.astype(np.float64)
        no_crowd = np.zeros(len(boxes), dtype=bool)
        rows = (_filled(index, boxes), boxes, _areas(boxes, inclusive_pixels), annotation.labels)
        truth.append(ObjectTable(*rows, annotation.is_difficult, no_crowd))
        pairs.append(box_iou(image.boxes, annotation.boxes, inclusive_pixels))
    return _join(metric, dataset, found, truth, pairs)


def _make_coco_tables(dataset: CocoEvaluationDataset, detections: Sequence[ImageDetections]) -> Tables:
    """As COCOeval sees them: images by ascending id, all annotations of the file, 100 detections a class and image."""
    label_of = {category_id: label for label, category_id in dataset.contiguous_id_to_coco_id.items()}
    ids = [dataset.get_annotation(index)[0] for index in range(len(dataset))]
    found, truth, pairs = [], [], []
    for index in sorted(range(len(ids)), key=ids.__getitem__):
        image = _coco_detections(detections[index], list(label_of.values()))
        annotations = [item for item in dataset.coco.imgToAnns[ids[index]] if item["category_id"] in label_of]
        objects = _coco_objects(index, annotations, label_of)
        xywh = np.concatenate([image.boxes[:, :2], image.boxes[:, 2:] - image.boxes[:, :2]], axis=1).astype(np.float64)
        image = image._replace(boxes=_to_corners(xywh))  # float32 sizes, as in the results list
        found.append(_detection_rows(index, image, inclusive_pixels=False))
        truth.append(objects)
        pairs.append(_coco_iou(image.boxes, objects))
    return _join("coco", dataset, found, truth, pairs)


def _coco_detections(image: ImageDetections, labels: Sequence[int]) -> ImageDetections:
    order = np.argsort(-image.scores, kind="stable")
    order = order[np.argsort(image.labels[order], kind="stable")]
    ranked = image.labels[order]
    place = np.arange(len(ranked)) - np.searchsorted(ranked, ranked)  # in its class
    kept = np.sort(order[(place < _COCO_MAX_DETECTIONS) & np.isin(ranked, labels)])
    return ImageDetections(image.boxes[kept], image.labels[kept], image.scores[kept])


def _coco_objects(index: int, annotations: Sequence[dict[str, Any]], label_of: dict[int, int]) -> ObjectTable:
    boxes = _to_corners(np.array([item["bbox"] for item in annotations], dtype=np.float64).reshape(-1, 4))
    crowd = np.array([bool(item.get("iscrowd", 0)) for item in annotations], dtype=bool)
    areas = [item.get("area", item["bbox"][2] * item["bbox"][3]) for item in annotations]
    labels = np.array([label_of[item["category_id"]] for item in annotations], dtype=np.int64)
    return ObjectTable(_filled(index, boxes), boxes, np.array(areas, dtype=np.float64), labels, crowd, crowd)


def _coco_iou(boxes: np.ndarray, objects: ObjectTable) -> np.ndarray:
    """IoU (D, G); with a crowd, intersection over the area of the detection."""
    sides = np.minimum(boxes[:, None, 2:], objects.boxes[:, 2:]) - np.maximum(boxes[:, None, :2], objects.boxes[:, :2])
    overlap = np.clip(sides, 0, None).prod(axis=-1)
    own = _areas(boxes, inclusive_pixels=False)[:, None]
    union = np.where(objects.is_crowd, own, own + _areas(objects.boxes, inclusive_pixels=False) - overlap)
    return overlap / np.maximum(union, np.finfo(np.float64).tiny)


def _detection_rows(index: int, image: ImageDetections, inclusive_pixels: bool) -> DetectionTable:
    boxes = image.boxes.astype(np.float64)
    return DetectionTable(
        _filled(index, boxes), boxes, _areas(boxes, inclusive_pixels), image.labels.astype(np.int64), image.scores
    )


def _join(
    metric: str,
    dataset: EvaluationDataset,
    found: Sequence[DetectionTable],
    truth: Sequence[ObjectTable],
    ious: Sequence[np.ndarray],
) -> Tables:
    """The tables of all images as one; ious are (D, G) of each image."""
    first_row = np.cumsum([0, *(len(image.labels) for image in found)])
    first_object = np.cumsum([0, *(len(image.labels) for image in truth)])
    near = [np.nonzero(iou >= MIN_OVERLAP) for iou in ious]
    no_detections = DetectionTable(*(np.empty(shape, kind) for shape, kind in _DETECTION_COLUMNS))
    no_objects = ObjectTable(*(np.empty(shape, kind) for shape, kind in _OBJECT_COLUMNS))
    no_pairs = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    pairs = [
        (rows + row, columns + column, iou[rows, columns])
        for (rows, columns), iou, row, column in zip(near, ious, first_row, first_object, strict=False)
    ]
    return Tables(
        metric,
        tuple(dataset.class_names),
        len(dataset),
        DetectionTable(*map(np.concatenate, zip(no_detections, *found, strict=True))),
        ObjectTable(*map(np.concatenate, zip(no_objects, *truth, strict=True))),
        PairTable(*map(np.concatenate, zip(no_pairs, *pairs, strict=True))),
    )


def _filled(index: int, boxes: np.ndarray) -> np.ndarray:
    return np.full(len(boxes), index)


def _areas(boxes: np.ndarray, inclusive_pixels: bool) -> np.ndarray:
    return np.clip(boxes[:, 2:] - boxes[:, :2] + inclusive_pixels, 0, None).prod(axis=1)


def _to_corners(xywh: np.ndarray) -> np.ndarray:
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
