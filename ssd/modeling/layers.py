"""Layers that torch.nn does not have."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation


class L2Norm(nn.Module):
    """Scale every position of a feature map to a learnt norm per channel (ParseNet; SSD, Sec. 3.1, for conv4_3).

    ``scale`` is the initial norm, 20 in the paper.
    """

    def __init__(self, num_channels: int, scale: float = 20.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((num_channels,), float(scale)))

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features (B, C, H, W) over C."""
        return F.normalize(features, dim=1, eps=1e-10) * self.weight[:, None, None]


class SeparableConv2d(nn.Module):
    """Depthwise 3x3 convolution with batch norm and ReLU6, then a pointwise one (MobileNetV2, Sec. 6.2, SSDLite)."""

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
    """Batch norm that can train on one image whose map is one cell, and that keeps statistics that were folded.

    One value per channel has no variance, and torch refuses it. There the running statistics normalise, as in
    evaluation, and are not updated. The same holds for all images if ``is_folded``: the statistics of a batch would
    change what the network computes.
    """

    @property
    def is_folded(self) -> bool:
        """Whether it has mean 0 and variance 1 (less eps), since a file has it folded into its convolution."""
        mean, variance = self.running_mean, self.running_var
        if mean is None or variance is None or mean.is_meta:
            return False
        return not mean.any() and bool((variance == 1 - self.eps).all())

    def train(self, mode: bool = True) -> "BatchNorm2d":
        """Switch between training and evaluation mode; one that ``is_folded`` stays in the latter."""
        return super().train(mode and not self.is_folded)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W) over all but C."""
        if not self.training or input.numel() > self.num_features:
            return super().forward(input)
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


# A convolution without bias, padded to ceil(size / stride) cells, its batch norm and, if given, ``activation_layer``.
conv_bn = partial(Conv2dNormActivation, norm_layer=BatchNorm2d, activation_layer=None)
