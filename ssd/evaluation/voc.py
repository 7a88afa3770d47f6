"""PASCAL VOC average precision: 11-point (VOC 2007) and every-point (VOC 2010 and later).

Legend: C classes with background, D detections of one class in descending order of score, N detections of one image,
G ground-truth boxes of one image. Boxes are in corner form, in pixels of the original image.
"""

from collections.abc import Sequence

import numpy as np

from ssd.evaluation.inputs import ImageAnnotation, ImageDetections

# Recalls at which VOC 2007 samples precision. Some are a rounding above k / 10 (0.30000000000000004), so that a recall
# of exactly 3 / 10 misses the fourth, as in published VOC 2007 figures.
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
    """Return the average precision of each class and its mean over the classes that have objects.

    Args:
        detections: Detections of each image.
        annotations: Objects of each image, in the same order.
        num_classes: Number of classes including background.
        use_07_metric: Sample precision at 11 recalls instead of integrating it.
        inclusive_pixels: x2 and y2 are the last pixel inside the box (VOC files), not its right and bottom edge.
        iou_threshold: Least IoU of a true positive.

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
    """Return precision (D,) and recall (D,) of each class after each of its detections, best first.

    A detection is compared with the object of its class of highest IoU. It is a true positive if the IoU suffices and
    no detection of better score has the same object, ignored if the object is difficult, and a false positive
    otherwise. Equal scores keep the order of the images, and in an image that of the detections. Precision is nan while
    all detections are ignored; recall is None where there is no object to find.
    """
    labels = _joined([image.labels for image in detections], np.int64)
    scores = _joined([image.scores for image in detections], np.float32)
    gt_labels = _joined([image.labels for image in annotations], np.int64)
    is_difficult = _joined([image.is_difficult for image in annotations], np.bool_)
    first_objects = np.cumsum([0, *(len(image.labels) for image in annotations)])[:-1]
    images = zip(detections, annotations, first_objects, strict=True)
    targets = _joined([_best_objects(*image, inclusive_pixels, iou_threshold) for image in images], np.int64)
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
    """Return average precision (C,) from the curves of ``calc_detection_voc_prec_rec``; nan where recall is None."""
    curves = zip(prec, rec, strict=True)
    return np.array([np.nan if r is None else _average_precision(p, r, use_07_metric) for p, r in curves], np.float64)


def _joined(arrays: Sequence[np.ndarray], dtype: type[np.generic]) -> np.ndarray:
    """Concatenate the arrays (N,) of all images; the dtype is for a dataset without images."""
    return np.concatenate([np.empty(0, dtype), *arrays])


def _average_precision(prec: np.ndarray, rec: np.ndarray, use_07_metric: bool) -> float:
    """Area under, or mean of 11 samples of, the best precision at a recall or any higher one."""
    best_prec = np.maximum.accumulate(np.nan_to_num(prec)[::-1])[::-1]
    if use_07_metric:
        return float(np.append(best_prec, 0.0)[np.searchsorted(rec, _RECALLS_07)].mean())
    return float(np.sum(np.diff(rec, prepend=0.0) * best_prec))


def _count_hits(targets: np.ndarray, is_difficult: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative numbers (D,) of true and false positives; targets (D,) are objects by number, -1 for none."""
    is_first = np.zeros(len(targets), dtype=bool)
    is_first[np.unique(targets, return_index=True)[1]] = True
    found = targets >= 0
    ignored = np.zeros(len(targets), dtype=bool)
    ignored[found] = is_difficult[targets[found]]
    true_positive = found & is_first & ~ignored
    return np.cumsum(true_positive), np.cumsum(~true_positive & ~ignored)


def _best_objects(
    image: ImageDetections, annotation: ImageAnnotation, first_object: int, inclusive_pixels: bool, iou_threshold: float
) -> np.ndarray:
    """Number (N,) of the object of highest IoU in the class of each detection, -1 below the threshold."""
    if not len(image.labels) or not len(annotation.labels):
        return np.full(len(image.labels), -1)
    iou = box_iou(image.boxes, annotation.boxes, inclusive_pixels)
    iou[image.labels[:, None] != annotation.labels] = -1
    best = iou.argmax(axis=1)
    return np.where(iou.max(axis=1) >= iou_threshold, first_object + best, -1)


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
