"""Boxes as offsets from priors (SSD, eq. 2; the two variances come from the authors' released code)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Decoded boxes are at most this many times as wide or high as their prior, so that any prediction stays finite. The
# bound is that of torchvision and mmdetection.
_MAX_SCALE = 1000 / 16


@dataclass(frozen=True)
class BoxCoder:
    """Encode boxes as regression targets of their priors, and decode predictions."""

    center_variance: float = 0.1  # divides the centre's offset in units of the prior's size
    size_variance: float = 0.2  # divides the logarithm of the ratio of sizes

    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """Return the offsets (dx, dy, dw, dh) of boxes (..., P, 4) from priors (P, 4), both in centre form."""
        prior_size = priors[:, 2:]
        center = (boxes[..., :2] - priors[:, :2]) / prior_size / self.center_variance
        size = (boxes[..., 2:] / prior_size).log() / self.size_variance
        return torch.cat([center, size], dim=-1)

    def decode(self, bbox_pred: Tensor, priors: Tensor) -> Tensor:
        """Return the boxes (..., P, 4) of offsets, centre form; sizes are limited to 62.5 times the prior's."""
        prior_size = priors[:, 2:]
        center = bbox_pred[..., :2] * self.center_variance * prior_size + priors[:, :2]
        size = (bbox_pred[..., 2:] * self.size_variance).clamp(max=math.log(_MAX_SCALE)).exp() * prior_size
        return torch.cat([center, size], dim=-1)
