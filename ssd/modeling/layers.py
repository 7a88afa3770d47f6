"""Layers that torch.nn does not have."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class L2Norm(nn.Module):
    """Scale every position of a feature map to a learnt norm per channel (ParseNet; SSD, Sec. 3.1, for conv4_3).

    Args:
        num_channels: channels of the feature map.
        scale: initial norm; 20 in the paper.
    """

    def __init__(self, num_channels: int, scale: float = 20.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((num_channels,), float(scale)))

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features (B, C, H, W) over C."""
        return F.normalize(features, dim=1, eps=1e-10) * self.weight[:, None, None]


class SeparableConv2d(nn.Module):
    """Depthwise 3x3 convolution with batch norm and ReLU6, then a pointwise one (MobileNetV2, Sec. 6.2, SSDLite).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, kernel_size=3, padding=1, groups=in_channels),
            BatchNorm2d(in_channels),
            nn.ReLU6(inplace=True),
            nn.Conv2d(in_channels, out_channels, kernel_size=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, in_channels, H, W) to (B, out_channels, H, W)."""
        return self.conv(features)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm that can train on one image whose map is one cell.

    A channel's one value has no variance, and its mean is itself: torch refuses it. There the running statistics
    normalise, as in evaluation, and are kept as they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W) over all but C."""
        if not self.training or input.numel() > self.num_features:
            return super().forward(input)
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
