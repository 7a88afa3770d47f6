"""PASCAL VOC average precision: 11-point (VOC 2007) and every-point (VOC 2010 and later).

Legend: C classes with background, D detections of one class in descending order of score, N detections of one image,
G ground-truth boxes of one image. Boxes are in corner form, in pixels of the original image.
"""

from collections.abc import Sequence

import numpy as np

from ssd.evaluation.inputs import ImageAnnotation, ImageDetections

# The recalls at which VOC 2007 samples precision. Some are a rounding above k / 10 (0.30000000000000004), so a recall
# of exactly 3 / 10 misses the fourth. Published VOC 2007 figures have it so; ours must compare with them.
_RECALLS_07 = np.linspace(0, 1, 11)


def eval_detection_voc(
    detections: Sequence[ImageDetections],
    annotations: Sequence[ImageAnnotation],
    num_classes: int,
    *,
    use_07_metric: bool,
    inclusive_pixels: bool,
    iou_threshold: float = 0.5,
) -> tuple[np.ndarray, float]:
    """Average precision of each class and its mean over the classes that have objects.

    Args:
        detections: one entry an image.
        annotations: the same images in the same order.
        num_classes: classes including background.
        use_07_metric: sample precision at 11 recalls instead of integrating it.
        inclusive_pixels: x2 and y2 are the last pixel inside the box (VOC files), not its right and bottom edge.
        iou_threshold: a detection must overlap an object at least so much to find it.

    Returns:
        AP (C,) float64, nan for the background and for classes without an object that is not difficult; and the mean
        of the others, nan if there are none.
    """
    prec, rec = calc_detection_voc_prec_rec(
        detections, annotations, num_classes, inclusive_pixels=inclusive_pixels, iou_threshold=iou_threshold
    )
    ap = calc_detection_voc_ap(prec, rec, use_07_metric=use_07_metric)
    measured = ap[~np.isnan(ap)]
    return ap, float(measured.mean()) if len(measured) else float("nan")


def calc_detection_voc_prec_rec(
    detections: Sequence[ImageDetections],
    annotations: Sequence[ImageAnnotation],
    num_classes: int,
    *,
    inclusive_pixels: bool,
    iou_threshold: float = 0.5,
) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Precision and recall of each class after each of its detections, best first.

    A detection is compared with the one object of its class that it overlaps most. It is a true positive if the
    overlap suffices and no better-scored detection has claimed that object, ignored if the object is difficult, and
    a false positive otherwise. Equal scores keep the order of the images, and in an image that of the detections.

    Args: as for ``eval_detection_voc``.

    Returns:
        Precision (D,) of each class by label, nan where only ignored detections have been seen; and recall (D,) of
        each class, None where there is no object to find.
    """
    labels = _joined([image.labels for image in detections], np.int64)
    scores = _joined([image.scores for image in detections], np.float32)
    gt_labels = _joined([image.labels for image in annotations], np.int64)
    is_difficult = _joined([image.is_difficult for image in annotations], np.bool_)
    first_objects = np.cumsum([0, *(len(image.labels) for image in annotations)])[:-1]
    targets = _joined(
        [
            _best_objects(image, annotation, first_object, inclusive_pixels, iou_threshold)
            for image, annotation, first_object in zip(detections, annotations, first_objects, strict=True)
        ],
        np.int64,
    )

    num_objects = np.bincount(gt_labels[~is_difficult], minlength=num_classes)
    prec: list[np.ndarray] = []
    rec: list[np.ndarray | None] = []
    for label in range(num_classes):
        of_class = np.flatnonzero(labels == label)
        ranked = of_class[np.argsort(-scores[of_class], kind="stable")]
        tp, fp = _count_hits(targets[ranked], is_difficult)
        prec.append(np.divide(tp, tp + fp, out=np.full(len(tp), np.nan), where=tp + fp > 0))
        rec.append(tp / num_objects[label] if num_objects[label] else None)
    return prec, rec


def calc_detection_voc_ap(
    prec: Sequence[np.ndarray], rec: Sequence[np.ndarray | None], *, use_07_metric: bool
) -> np.ndarray:
    """Average precision (C,) from the curves of ``calc_detection_voc_prec_rec``; nan where recall is None."""
    return np.array(
        [
            np.nan if class_rec is None else _average_precision(class_prec, class_rec, use_07_metric)
            for class_prec, class_rec in zip(prec, rec, strict=True)
        ],
        dtype=np.float64,
    )


def _joined(arrays: Sequence[np.ndarray], dtype: type[np.generic]) -> np.ndarray:
    """The arrays (N,) of all images in one; the dtype is for a dataset without images."""
    return np.concatenate([np.empty(0, dtype), *arrays])


def _average_precision(prec: np.ndarray, rec: np.ndarray, use_07_metric: bool) -> float:
    """Area under, or mean of 11 samples of, the precision reached at a recall or any higher one."""
    best_prec = np.maximum.accumulate(np.nan_to_num(prec)[::-1])[::-1]
    if use_07_metric:
        return float(np.append(best_prec, 0.0)[np.searchsorted(rec, _RECALLS_07)].mean())
    return float(np.sum(np.diff(rec, prepend=0.0) * best_prec))


def _count_hits(targets: np.ndarray, is_difficult: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Running numbers (D,) of true and false positives; targets (D,) are objects by number, -1 for none."""
    is_first = np.zeros(len(targets), dtype=bool)
    is_first[np.unique(targets, return_index=True)[1]] = True
    found = targets >= 0
    ignored = np.zeros(len(targets), dtype=bool)
    ignored[found] = is_difficult[targets[found]]
    true_positive = found & is_first & ~ignored
    return np.cumsum(true_positive), np.cumsum(~true_positive & ~ignored)


def _best_objects(
    image: ImageDetections,
    annotation: ImageAnnotation,
    first_object: int,
    inclusive_pixels: bool,
    iou_threshold: float,
) -> np.ndarray:
    """Number (N,) of the object of its class that each detection overlaps most, -1 where none enough."""
    if not len(image.labels) or not len(annotation.labels):
        return np.full(len(image.labels), -1)
    iou = box_iou(image.boxes, annotation.boxes, inclusive_pixels)
    iou[image.labels[:, None] != annotation.labels] = -1
    best = iou.argmax(axis=1)
    return np.where(iou.max(axis=1) >= iou_threshold, first_object + best, -1)


def box_iou(boxes: np.ndarray, gt_boxes: np.ndarray, inclusive_pixels: bool) -> np.ndarray:
    """Return IoU (N, G) in float64; 0 where both boxes are empty."""
    top_left, bottom_right = np.split(boxes.astype(np.float64)[:, None], 2, axis=-1)  # (N, 1, 2) each
    gt_top_left, gt_bottom_right = np.split(gt_boxes.astype(np.float64), 2, axis=-1)  # (G, 2) each
    if inclusive_pixels:
        bottom_right, gt_bottom_right = bottom_right + 1, gt_bottom_right + 1
    overlap = _area(np.maximum(top_left, gt_top_left), np.minimum(bottom_right, gt_bottom_right))
    union = _area(top_left, bottom_right) + _area(gt_top_left, gt_bottom_right) - overlap
    return overlap / np.maximum(union, np.finfo(np.float64).tiny)


def _area(top_left: np.ndarray, bottom_right: np.ndarray) -> np.ndarray:
    return np.clip(bottom_right - top_left, 0, None).prod(axis=-1)
