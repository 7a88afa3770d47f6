"""Box formats, IoU and NMS. Boxes are (..., 4) tensors, relative to the image or in pixels.

Corner form: (x1, y1, x2, y2). Centre form: (cx, cy, w, h).
"""

import torch
from torch import Tensor

try:
    from torchvision.ops import nms
except RuntimeError as error:  # "operator torchvision::nms does not exist": built for another torch
    raise ImportError(
        "torch and torchvision do not fit (for example a CPU-only torch and a CUDA torchvision). "
        "Install both from the same index: pip install --force-reinstall torch torchvision"
    ) from error

__all__ = ["center_to_corner", "clip_boxes", "corner_to_center", "nms", "pairwise_iou"]


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
    limit = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limit)


def pairwise_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Return the IoU of every box of ``boxes_a`` with every box of ``boxes_b``, without gradients.

    Equal to torchvision's ``box_iou`` to the last bit, for batches, and faster on a CPU: it works per coordinate and in
    place.

    Args:
        boxes_a: (..., N, 4) corner form.
        boxes_b: (..., M, 4) corner form, same unit.

    Returns:
        IoU (..., N, M).
    """
    x1_a, y1_a, x2_a, y2_a = boxes_a.detach()[..., None, :].unbind(-1)  # (..., N, 1) each
    x1_b, y1_b, x2_b, y2_b = boxes_b.detach()[..., None, :, :].movedim(-1, 0).contiguous()  # (..., 1, M) each
    width = torch.minimum(x2_a, x2_b).sub_(torch.maximum(x1_a, x1_b)).clamp_(min=0)  # (..., N, M)
    height = torch.minimum(y2_a, y2_b).sub_(torch.maximum(y1_a, y1_b)).clamp_(min=0)
    intersection = width.mul_(height)
    areas = torch.add((x2_a - x1_a) * (y2_a - y1_a), (x2_b - x1_b) * (y2_b - y1_b))
    return intersection.div_(areas.sub_(intersection))
