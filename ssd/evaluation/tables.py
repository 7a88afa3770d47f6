"""Detections and objects of a dataset as flat arrays, and the pairs that overlap.

Legend: D detections, G objects, K pairs of one image. Boxes are in corner form, in pixels of the original image.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ssd.evaluation.inputs import (
    CocoEvaluationDataset,
    EvaluationDataset,
    ImageAnnotation,
    ImageDetections,
    as_coco_dataset,
    has_inclusive_pixels,
    read_annotation,
)

MIN_OVERLAP = 0.1  # least IoU of a pair; below it is TIDE's background (Bolya et al., ECCV 2020, Sec. 2.2)
_COCO_MAX_DETECTIONS = 100  # of a class and image, best first, as in COCO's figures
_NO_DETECTIONS = ImageDetections(np.empty((0, 4), np.float32), np.empty(0, np.int64), np.empty(0, np.float32))


class DetectionTable(NamedTuple):
    """images (D,) by index in the dataset, boxes (D, 4) float64, areas (D,), labels (D,) from 1, scores (D,)."""

    images: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


class ObjectTable(NamedTuple):
    """images (G,), boxes (G, 4) float64, areas (G,), labels (G,) from 1, is_ignored (G,), is_crowd (G,).

    Ignored are VOC's difficult objects and COCO's crowds. A crowd matches any number of detections.
    """

    images: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    labels: np.ndarray
    is_ignored: np.ndarray
    is_crowd: np.ndarray


class PairTable(NamedTuple):
    """Rows of detections (K,) and objects (K,), and their iou (K,) of MIN_OVERLAP or more; by ascending detection."""

    detections: np.ndarray
    objects: np.ndarray
    iou: np.ndarray


class Tables(NamedTuple):
    """Detections and objects, in the order in which the metric ranks equal scores."""

    metric: str  # voc07, voc or coco
    class_names: tuple[str, ...]  # names by label, the background first
    num_images: int  # in the dataset
    detections: DetectionTable  # those that the metric counts
    objects: ObjectTable  # those that the metric counts or ignores
    pairs: PairTable  # those that overlap; the iou with a crowd is intersection / area of the detection

    @property
    def num_classes(self) -> int:
        """Number of classes including background."""
        return len(self.class_names)

    def count_objects(self, is_ignored: np.ndarray | None = None) -> np.ndarray:
        """Return the number (C,) of objects to find by label; ``is_ignored`` (G,) replaces that of the table."""
        ignored = self.objects.is_ignored if is_ignored is None else is_ignored
        return np.bincount(self.objects.labels[~ignored], minlength=self.num_classes)


def make_tables(dataset: EvaluationDataset, detections: Sequence[ImageDetections], metric: str) -> Tables:
    """Build the tables of a dataset for one of the METRICS."""
    if metric == "coco":
        return _make_coco_tables(as_coco_dataset(dataset), detections)
    annotations = [read_annotation(dataset, index) for index in range(len(dataset))]
    return make_voc_tables(metric, dataset.class_names, detections, annotations, has_inclusive_pixels(dataset))


def make_voc_tables(
    metric: str,
    class_names: Sequence[str],
    detections: Sequence[ImageDetections],
    annotations: Sequence[ImageAnnotation],
    inclusive_pixels: bool,
) -> Tables:
    """Build the tables of images for voc07 or voc; ``inclusive_pixels`` as in ``eval_detection_voc``."""
    found, truth, ious = [], [], []
    for index, (image, annotation) in enumerate(zip(detections, annotations, strict=True)):
        found.append(_detection_rows(index, image, inclusive_pixels))
        boxes = annotation.boxes.astype(np.float64)
        rows = (np.full(len(boxes), index), boxes, _areas(boxes, inclusive_pixels), annotation.labels)
        truth.append(ObjectTable(*rows, annotation.is_difficult, np.zeros(len(boxes), dtype=bool)))
        ious.append(box_iou(image.boxes, annotation.boxes, inclusive_pixels))
    return _join(metric, class_names, found, truth, ious)


def _make_coco_tables(dataset: CocoEvaluationDataset, detections: Sequence[ImageDetections]) -> Tables:
    """As COCOeval: images by ascending id, all annotations of the file, 100 detections of a class and image."""
    label_of = {category_id: label for label, category_id in dataset.contiguous_id_to_coco_id.items()}
    ids = [dataset.get_annotation(index)[0] for index in range(len(dataset))]
    found, truth, ious = [], [], []
    for index in sorted(range(len(ids)), key=ids.__getitem__):
        image = _coco_detections(detections[index], list(label_of.values()))
        annotations = [item for item in dataset.coco.imgToAnns[ids[index]] if item["category_id"] in label_of]
        objects = _coco_objects(index, annotations, label_of)
        xywh = np.concatenate([image.boxes[:, :2], image.boxes[:, 2:] - image.boxes[:, :2]], axis=1).astype(np.float64)
        image = image._replace(boxes=_to_corners(xywh))  # float32 sizes, as in the results list
        found.append(_detection_rows(index, image, inclusive_pixels=False))
        truth.append(objects)
        ious.append(box_iou(image.boxes, objects.boxes, inclusive_pixels=False, is_crowd=objects.is_crowd))
    return _join("coco", dataset.class_names, found, truth, ious)


def _coco_detections(image: ImageDetections, labels: Sequence[int]) -> ImageDetections:
    order = np.argsort(-image.scores, kind="stable")
    order = order[np.argsort(image.labels[order], kind="stable")]
    ranked = image.labels[order]
    place = np.arange(len(ranked)) - np.searchsorted(ranked, ranked)  # within its class
    kept = np.sort(order[(place < _COCO_MAX_DETECTIONS) & np.isin(ranked, labels)])
    return ImageDetections(image.boxes[kept], image.labels[kept], image.scores[kept])


def _coco_objects(index: int, annotations: Sequence[dict[str, Any]], label_of: dict[int, int]) -> ObjectTable:
    boxes = _to_corners(np.array([item["bbox"] for item in annotations], dtype=np.float64).reshape(-1, 4))
    crowd = np.array([bool(item.get("iscrowd", 0)) for item in annotations], dtype=bool)
    areas = [item.get("area", item["bbox"][2] * item["bbox"][3]) for item in annotations]
    labels = np.array([label_of[item["category_id"]] for item in annotations], dtype=np.int64)
    return ObjectTable(np.full(len(boxes), index), boxes, np.array(areas, dtype=np.float64), labels, crowd, crowd)


def _detection_rows(index: int, image: ImageDetections, inclusive_pixels: bool) -> DetectionTable:
    boxes, images = image.boxes.astype(np.float64), np.full(len(image.labels), index)
    return DetectionTable(images, boxes, _areas(boxes, inclusive_pixels), image.labels.astype(np.int64), image.scores)


def _join(
    metric: str,
    class_names: Sequence[str],
    found: Sequence[DetectionTable],
    truth: Sequence[ObjectTable],
    ious: Sequence[np.ndarray],
) -> Tables:
    """Concatenate the tables of all images; ious are (D, G) of each image. Empty tables give the dtypes."""
    first_rows = np.cumsum([0, *(len(image.labels) for image in found)])[:-1]
    first_objects = np.cumsum([0, *(len(image.labels) for image in truth)])[:-1]
    pairs = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for iou, first_row, first_object in zip(ious, first_rows, first_objects, strict=True):
        rows, objects = np.nonzero(iou >= MIN_OVERLAP)
        pairs.append((rows + first_row, objects + first_object, iou[rows, objects]))
    no_detections, no_objects = _detection_rows(0, _NO_DETECTIONS, False), _coco_objects(0, [], {})
    return Tables(
        metric,
        tuple(class_names),
        len(found),
        DetectionTable(*map(np.concatenate, zip(no_detections, *found, strict=True))),
        ObjectTable(*map(np.concatenate, zip(no_objects, *truth, strict=True))),
        PairTable(*map(np.concatenate, zip(*pairs, strict=True))),
    )


def box_iou(
    boxes: np.ndarray, gt_boxes: np.ndarray, inclusive_pixels: bool, *, is_crowd: np.ndarray | None = None
) -> np.ndarray:
    """Return IoU (N, G) float64, 0 where both boxes are empty; for a crowd intersection / area of the first box."""
    top_left, bottom_right = np.split(boxes.astype(np.float64)[:, None], 2, axis=-1)  # (N, 1, 2) each
    gt_top_left, gt_bottom_right = np.split(gt_boxes.astype(np.float64), 2, axis=-1)  # (G, 2) each
    if inclusive_pixels:
        bottom_right, gt_bottom_right = bottom_right + 1, gt_bottom_right + 1
    area = _area(top_left, bottom_right)
    overlap = _area(np.maximum(top_left, gt_top_left), np.minimum(bottom_right, gt_bottom_right))
    union = area + _area(gt_top_left, gt_bottom_right) - overlap
    if is_crowd is not None:
        union = np.where(is_crowd, area, union)
    return overlap / np.maximum(union, np.finfo(np.float64).tiny)


def _area(top_left: np.ndarray, bottom_right: np.ndarray) -> np.ndarray:
    return np.clip(bottom_right - top_left, 0, None).prod(axis=-1)


def _areas(boxes: np.ndarray, inclusive_pixels: bool) -> np.ndarray:
    return np.clip(boxes[:, 2:] - boxes[:, :2] + inclusive_pixels, 0, None).prod(axis=1)


def _to_corners(xywh: np.ndarray) -> np.ndarray:
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
