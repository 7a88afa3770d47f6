"""Boxes as offsets from priors (SSD, eq. 2; the two variances come from the authors' released code)."""

import math

import torch
from torch import Tensor

# Decoded boxes are at most this many times as wide or high as their prior, so that a wild prediction stays finite; the
# bound of torchvision and mmdetection.
_MAX_SCALE = 1000 / 16


def encode_boxes(boxes: Tensor, priors: Tensor, center_variance: float, size_variance: float) -> Tensor:
    """Express boxes as the regression targets of their priors.

    Args:
        boxes: (..., P, 4) centre form, any unit; width and height must be positive.
        priors: (P, 4) centre form, same unit.
        center_variance: the centre offset, in units of the prior's size, is divided by this.
        size_variance: the logarithm of the size ratio is divided by this.

    Returns:
        Offsets (..., P, 4): (dx, dy, dw, dh).
    """
    origin, scale, variances = _four_columns(priors, center_variance, size_variance)
    offsets = (boxes - origin).div_(scale)
    offsets[..., 2:] = offsets[..., 2:].contiguous().log()
    return offsets.div_(variances)


def decode_boxes(bbox_pred: Tensor, priors: Tensor, center_variance: float, size_variance: float) -> Tensor:
    """Turn predicted offsets (..., P, 4) into boxes (..., P, 4), centre form in the unit of the priors.

    The inverse of ``encode_boxes``, with the same arguments, for boxes up to 62.5 times the size of their prior.
    """
    origin, scale, variances = _four_columns(priors, center_variance, size_variance)
    boxes = bbox_pred * variances
    boxes[..., 2:] = boxes[..., 2:].contiguous().clamp(max=math.log(_MAX_SCALE)).exp()
    return boxes.mul_(scale).add_(origin)


def _four_columns(priors: Tensor, center_variance: float, size_variance: float) -> tuple[Tensor, Tensor, Tensor]:
    """What is subtracted from each column of boxes, divides it, and divides it again, (P, 4) each.

    Whole rows are several times quicker on a CPU than two halves of two columns; so is a logarithm of contiguous ones.
    """
    center, size = priors.split(2, dim=-1)
    origin = torch.cat([center, torch.zeros_like(size)], dim=-1)
    variances = torch.cat([torch.full_like(center, center_variance), torch.full_like(size, size_variance)], dim=-1)
    return origin, torch.cat([size, size], dim=-1), variances
