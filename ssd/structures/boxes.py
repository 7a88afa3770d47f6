"""Box formats, IoU and NMS. Boxes are (..., 4) tensors, relative to the image or in pixels.

Corner form: (x1, y1, x2, y2). Centre form: (cx, cy, w, h).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

try:
    from torchvision.ops import nms
except RuntimeError as error:  # "operator torchvision::nms does not exist": built for another torch
    raise ImportError(
        "torch and torchvision do not fit (for example a CPU-only torch and a CUDA torchvision). "
        "Install both from the same index: pip install --force-reinstall torch torchvision"
    ) from error

__all__ = [
    "best_candidates",
    "center_to_corner",
    "class_wise_nms",
    "clip_boxes",
    "corner_to_center",
    "height_width",
    "nms",
    "paired_ious",
    "pairwise_iou",
    "rank_in_class",
]

# Pixels. NMS clips boxes to this range, so that a network that diverges on one image does not move those of others.
_FAR = 1e6


def corner_to_center(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) from corner form to centre form."""
    top_left, bottom_right = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(top_left + bottom_right) / 2, bottom_right - top_left], dim=-1)


def center_to_corner(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) from centre form to corner form."""
    center, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([center - size / 2, center + size / 2], dim=-1)


def clip_boxes(boxes: Tensor, width: float, height: float) -> Tensor:
    """Clip corner-form boxes (..., 4) to an image of ``width`` x ``height``, in the unit of the boxes."""
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack([x, y], dim=-1).flatten(-2)


def paired_ious(boxes_a: Tensor, boxes_b: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and GIoU (arXiv:1902.09630, Algorithm 1) of boxes (..., 4) and those at the same place of the other.

    Both are in corner form; at least one of each pair must have an area.
    """
    low_a, high_a, low_b, high_b = boxes_a[..., :2], boxes_a[..., 2:], boxes_b[..., :2], boxes_b[..., 2:]
    intersection = _product((torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)).clamp(min=0))
    union = _product(high_a - low_a) + _product(high_b - low_b) - intersection
    hull = _product(torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b))
    iou = intersection / union
    return iou, iou - (hull - union) / hull


def _product(sides: Tensor) -> Tensor:
    return sides[..., 0] * sides[..., 1]


def pairwise_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Return the IoU (..., N, M) of boxes (..., N, 4) with boxes (..., M, 4), corner form, without gradients.

    Equal to torchvision's ``box_iou`` to the last bit, for batches, and faster on a CPU: by coordinate and in place.
    """
    x1_a, y1_a, x2_a, y2_a = boxes_a.detach()[..., None, :].unbind(-1)  # (..., N, 1) each
    x1_b, y1_b, x2_b, y2_b = boxes_b.detach()[..., None, :, :].movedim(-1, 0).contiguous()  # (..., 1, M) each
    width = torch.minimum(x2_a, x2_b).sub_(torch.maximum(x1_a, x1_b)).clamp_(min=0)  # (..., N, M)
    height = torch.minimum(y2_a, y2_b).sub_(torch.maximum(y1_a, y1_b)).clamp_(min=0)
    intersection = width.mul_(height)
    areas = torch.add((x2_a - x1_a) * (y2_a - y1_a), (x2_b - x1_b) * (y2_b - y1_b))
    return intersection.div_(areas.sub_(intersection))


def class_wise_nms(boxes: Tensor, labels: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Apply greedy NMS to boxes (N, 4) within each class; return the indices (M,) of the rest, by descending score.

    Every class is moved to a place of its own on the plane, so that one NMS serves them all. The shift is wider than
    the span of all boxes, and float64 keeps it from rounding.
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


def height_width(size: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width), or (y, x) of strides; n means (n, n)."""
    if isinstance(size, Sequence):
        height, width = size
        return height, width
    return size, size


def best_candidates(scores: Tensor, num_candidates: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best (prior, class) pairs of scores (B, P, C - 1): scores, priors and labels from 1, (B, K) each.

    The best priors are taken first, by their best class, then the best pairs of these: none of the best K pairs can
    belong to a prior that is not among the best K.
    """
    _, num_priors, num_classes = scores.shape
    priors = scores.amax(dim=2).topk(min(num_candidates, num_priors), dim=1).indices  # (B, K)
    pairs = scores.gather(1, priors[..., None].expand(-1, -1, num_classes)).flatten(1)  # (B, K * (C - 1))
    best, index = pairs.topk(min(num_candidates, pairs.shape[1]), dim=1)
    return best, priors.gather(1, index // num_classes), index % num_classes + 1
