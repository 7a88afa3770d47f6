"""Boxes as offsets from priors (SSD, eq. 2; the two variances come from the authors' released code)."""

import math

import torch
from torch import Tensor

# Decoded boxes are at most this many times as wide or high as their prior, so that a wild prediction stays finite.
_MAX_SCALE = 1000.0


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
    center = (boxes[..., :2] - priors[..., :2]) / priors[..., 2:] / center_variance
    size = (boxes[..., 2:] / priors[..., 2:]).log() / size_variance
    return torch.cat([center, size], dim=-1)


def decode_boxes(bbox_pred: Tensor, priors: Tensor, center_variance: float, size_variance: float) -> Tensor:
    """Turn predicted offsets (..., P, 4) into boxes (..., P, 4), centre form in the unit of the priors.

    The inverse of ``encode_boxes``, with the same arguments, for boxes up to a thousand times the size of their prior.
    """
    center = bbox_pred[..., :2] * center_variance * priors[..., 2:] + priors[..., :2]
    size = (bbox_pred[..., 2:] * size_variance).clamp(max=math.log(_MAX_SCALE)).exp() * priors[..., 2:]
    return torch.cat([center, size], dim=-1)
