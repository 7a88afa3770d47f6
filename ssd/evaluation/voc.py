"""PASCAL VOC average precision: 11-point (VOC 2007) and every-point (VOC 2010 and later).

Legend: C classes with background. Boxes are in corner form, in pixels of the original image.
"""

from collections.abc import Sequence

import numpy as np

from ssd.evaluation.curves import matched_ap
from ssd.evaluation.inputs import ImageAnnotation, ImageDetections
from ssd.evaluation.matching import match
from ssd.evaluation.tables import make_voc_tables


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
        annotations: Objects of each image, in the order of the detections.
        use_07_metric: Sample precision at 11 recalls instead of integrating it.
        inclusive_pixels: x2 and y2 are the last pixel inside the box (VOC files), not its right and bottom edge.
        iou_threshold: Least IoU of a true positive.

    Returns:
        AP (C,) float64, nan for the background and for classes without an object that is not difficult; and the mean
        of the others, nan if there are none.
    """
    metric, class_names = "voc07" if use_07_metric else "voc", tuple(map(str, range(num_classes)))
    tables = make_voc_tables(metric, class_names, detections, annotations, inclusive_pixels)
    ap = matched_ap(tables, match(tables, iou_threshold))
    measured = ap[~np.isnan(ap)]
    return ap, float(measured.mean()) if len(measured) else float("nan")
