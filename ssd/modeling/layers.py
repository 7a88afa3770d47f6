"""Layers that torch.nn does not have."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation


class L2Norm(nn.Module):
    """Scale every position of a feature map to a learnt norm per channel (ParseNet; SSD, Sec. 3.1, for conv4_3)."""

    def __init__(self, num_channels: int, scale: float = 20.0):  # that of the paper, of all channels at first
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


class SamePaddingConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME": an odd padding has its extra cell at the right and the bottom."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride))."""
        height, width = (
            same_padding(size, kernel, stride)
            for size, kernel, stride in zip(input.shape[-2:], self.kernel_size, self.stride, strict=True)
        )
        padding = (height // 2, width // 2)
        if height % 2 or width % 2:
            input = F.pad(input, (width // 2, width - width // 2, height // 2, height - height // 2))
            padding = (0, 0)
        return F.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class SamePaddingMaxPool2d(nn.Module):
    """Max pooling padded as TensorFlow's "SAME"; the padding is 0, for maps without negative values."""

    def __init__(self, kernel_size: int, stride: int):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride))."""
        height, width = (same_padding(size, self.kernel_size, self.stride) for size in input.shape[-2:])
        input = F.pad(input, (width // 2, width - width // 2, height // 2, height - height // 2))
        return F.max_pool2d(input, self.kernel_size, self.stride)


def same_padding(size: int, kernel_size: int, stride: int) -> int:
    """Return the padding along one side, in total, with which a convolution gives ceil(size / stride) cells."""
    cells = -(-size // stride)
    return max((cells - 1) * stride + kernel_size - size, 0)


def with_same_padding(network: nn.Module) -> nn.Module:
    """Replace the strided convolutions of a network by SamePaddingConv2d, with their weights, and return it."""
    for name, conv in list(network.named_modules()):
        # Others are padded alike: with a stride of 1 and odd kernels both paddings are symmetric.
        if isinstance(conv, nn.Conv2d) and conv.stride != (1, 1) and conv.kernel_size != (1, 1):
            (height, width), (stride, _) = conv.kernel_size, conv.stride
            channels = (conv.in_channels, conv.out_channels)
            same = SamePaddingConv2d(*channels, (height, width), stride, groups=conv.groups)
            same.weight, same.bias = conv.weight, conv.bias
            network.set_submodule(name, same)
    return network


# A convolution without bias, padded to ceil(size / stride) cells, its batch norm and, if given, ``activation_layer``.
conv_bn = partial(Conv2dNormActivation, norm_layer=BatchNorm2d, activation_layer=None)
