"""Class-wise non-maximum suppression.

N boxes of any number of images and classes.
"""

import torch
from torch import Tensor

from ssd.structures.boxes import nms

# Pixels. NMS clips boxes to this range, so that a network that diverges on one image does not move those of others.
_FAR = 1e6


def class_wise_nms(boxes: Tensor, labels: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Apply greedy NMS within each class.

    Every class is moved to a place of its own on the plane, so that one NMS serves them all. The shift is wider than
    the span of all boxes, and float64 keeps it from rounding.

    Args:
        boxes: (N, 4) corner form, float32.
        labels: (N,) int64.
        scores: (N,).
        iou_threshold: The lower-scored of two boxes is dropped if their IoU exceeds it.

    Returns:
        Indices (M,) of the remaining boxes, by descending score.
    """
    if len(boxes) == 0:
        return labels
    if boxes.device.type == "mps":  # has no float64
        return class_wise_nms(boxes.cpu(), labels.cpu(), scores.cpu(), iou_threshold).to(boxes.device)
    boxes = boxes.double().clamp(-_FAR, _FAR).nan_to_num()
    span = boxes.max() - boxes.min() + 1
    return nms(boxes + (labels * span)[:, None], scores.double(), iou_threshold)


def rank_in_class(labels: Tensor) -> Tensor:
    """Return how many earlier entries of ``labels`` (N,) have the same label: (N,)."""
    ordered, order = labels.sort(stable=True)
    position = torch.arange(len(labels), device=labels.device)
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    start = torch.where(is_first, position, 0).cummax(dim=0).values  # of each run of one label
    return torch.empty_like(position).scatter(0, order, position - start)
