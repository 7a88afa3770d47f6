"""Box formats. Boxes are (..., 4) tensors.

Corner form: (x1, y1, x2, y2). Centre form: (cx, cy, w, h). Units are the caller's: relative to the image, or pixels.
"""

import torch
from torch import Tensor


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
