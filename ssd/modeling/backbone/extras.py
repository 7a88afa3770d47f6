"""Extra layers: blocks of two convolutions that continue a network down to a few cells (SSD, Sec. 2.1, Fig. 2)."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from torch import nn
from torchvision.ops import Conv2dNormActivation

from ssd.modeling.layers import BatchNorm2d


def extra_block(
    in_channels: int, middle: int, out_channels: int, *, stride: int, padding: int, batch_norm: bool = True
) -> nn.Sequential:
    """Build a 1x1 convolution to ``middle`` channels and a 3x3 one to ``out_channels``, each with batch norm and ReLU.

    Without batch norm the convolutions have biases instead.
    """
    reduce = xavier_conv(in_channels, middle, kernel_size=1, bias=not batch_norm)
    spread = xavier_conv(middle, out_channels, kernel_size=3, stride=stride, padding=padding, bias=not batch_norm)
    layers: list[nn.Module] = []
    for conv in (reduce, spread):
        norm = [BatchNorm2d(conv.out_channels)] if batch_norm else []
        layers += [conv, *norm, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def extra_blocks(
    in_channels: int, cells: int, plan: Iterable[tuple[int, int, int, int]], *, batch_norm: bool = True
) -> nn.ModuleList:
    """Build extra blocks until the next map would vanish.

    Args:
        cells: Cells along the shorter side of the input.
        plan: (middle channels, output channels, stride, padding) of every block.
    """
    blocks = nn.ModuleList()
    for middle, out_channels, stride, padding in plan:
        cells = cells_after(cells, stride=stride, padding=padding)
        if cells < 1:
            break
        block = extra_block(in_channels, middle, out_channels, stride=stride, padding=padding, batch_norm=batch_norm)
        blocks.append(block)
        in_channels = out_channels
    return blocks


def separable_extra_block(in_channels: int, middle: int, out_channels: int) -> nn.Sequential:
    """Build the extra block of SSDLite in torchvision and mmdetection.

    A 1x1 convolution to ``middle`` channels, a depthwise one of stride 2 and a 1x1 one, with batch norms and ReLU6.
    """
    conv = partial(Conv2dNormActivation, norm_layer=BatchNorm2d, activation_layer=nn.ReLU6)
    return nn.Sequential(
        conv(in_channels, middle, kernel_size=1),
        conv(middle, middle, kernel_size=3, stride=2, groups=middle),
        conv(middle, out_channels, kernel_size=1),
    )


def plain_separable_extra_block(in_channels: int, middle: int, out_channels: int, padding: int = 1) -> nn.Sequential:
    """Build the extra block of mb1-ssd-lite and sq-ssd-lite of the qfgaohao port.

    It has biases instead of batch norms, and no activation at its end. Initial weights are Kaiming-uniform by fan-in:
    Xavier's count the outputs of all groups, and without batch norms the maps would fade by 20 a block.
    """
    reduce = xavier_conv(in_channels, middle, kernel_size=1)
    pointwise = xavier_conv(middle, out_channels, kernel_size=1)
    depthwise = xavier_conv(middle, middle, kernel_size=3, stride=2, padding=padding, groups=middle)
    for conv in (reduce, depthwise, pointwise):
        nn.init.kaiming_uniform_(conv.weight)
    return nn.Sequential(reduce, nn.ReLU(inplace=True), nn.Sequential(depthwise, nn.ReLU(inplace=True), pointwise))


def xavier_conv(in_channels: int, out_channels: int, **kwargs: Any) -> nn.Conv2d:
    """Build a nn.Conv2d with Xavier-uniform weights and zero bias, as in the released code of the paper."""
    conv = nn.Conv2d(in_channels, out_channels, **kwargs)
    nn.init.xavier_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def cells_after(cells: int, *, stride: int, padding: int, kernel_size: int = 3) -> int:
    """Return the cells along one side after a convolution; below 1 the map would vanish."""
    return (cells + 2 * padding - kernel_size) // stride + 1
