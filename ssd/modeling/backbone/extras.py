"""Extra layers: blocks of two convolutions that continue a network down to a few cells (SSD, Sec. 2.1, Fig. 2)."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from torch import nn

from ssd.modeling.layers import BatchNorm2d, conv_bn


def extra_block(
    in_channels: int, middle: int, out_channels: int, *, stride: int, padding: int, batch_norm: bool = True
) -> nn.Sequential:
    """Build a 1x1 and a 3x3 convolution, each with batch norm or bias, and ReLU."""
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
    """Build extra blocks of (middle, out, stride, padding) until the next map would vanish, from ``cells`` a side."""
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
    """Build the extra block of SSDLite in torchvision and mmdetection: pointwise, depthwise, pointwise."""
    conv = partial(conv_bn, activation_layer=nn.ReLU6)
    return nn.Sequential(
        conv(in_channels, middle, kernel_size=1),
        conv(middle, middle, kernel_size=3, stride=2, groups=middle),
        conv(middle, out_channels, kernel_size=1),
    )


def plain_separable_extra_block(in_channels: int, middle: int, out_channels: int, padding: int = 1) -> nn.Sequential:
    """Build the extra block of mb1-ssd-lite and sq-ssd-lite of the qfgaohao port, without batch norms."""
    reduce = xavier_conv(in_channels, middle, kernel_size=1)
    pointwise = xavier_conv(middle, out_channels, kernel_size=1)
    depthwise = xavier_conv(middle, middle, kernel_size=3, stride=2, padding=padding, groups=middle)
    # By fan-in: Xavier's weights count the outputs of all groups, and the maps would fade by 20 a block.
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
