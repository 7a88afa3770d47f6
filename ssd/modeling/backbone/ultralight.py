"""The networks of the Ultra-Light face detectors (Linzaer), slim and RFB: a small MobileNetV1 with one extra layer.

RFB has a receptive field block (arXiv:1711.07767, Fig. 4, with three branches of 3x3 convolutions) at stride 8.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.extras import plain_separable_extra_block
from ssd.modeling.backbone.mobilenet import MobileNet, separable_conv
from ssd.modeling.backbone.pretrained import refuse_pretrained
from ssd.modeling.layers import conv_bn

# Output channels and stride of the layers behind the first.
_LAYERS = ((32, 1), (32, 2), (32, 1), (64, 2), *((64, 1),) * 3, *((128, 2), (128, 1), (128, 1)), (256, 2), (256, 1))
_RFB_LAYER = 7
# Channels of the branches behind 1/8 of the input, and the dilation of the last convolution.
_BRANCHES = (((16, 16), 2), ((16, 16), 3), ((12, 16, 16), 5))


class RFB(nn.Module):
    """Receptive field block: branches that end in dilated convolutions, joined by a linear one, and a shortcut."""

    def __init__(self, channels: int):
        super().__init__()
        self.branches = nn.ModuleList(_branch(channels, widths, dilation) for widths, dilation in _BRANCHES)
        self.linear = conv_bn(sum(widths[-1] for widths, _ in _BRANCHES), channels, 1)
        self.shortcut = conv_bn(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, C, H, W) to as many."""
        x = torch.cat([branch(features) for branch in self.branches], dim=1)
        return F.relu(self.linear(x) + self.shortcut(features))


def _branch(channels: int, widths: tuple[int, ...], dilation: int) -> nn.Sequential:
    layers, width = [conv_bn(channels, channels // 8, 1)], channels // 8
    for number, after in enumerate(widths, start=1):
        is_last = number == len(widths)
        activation = None if is_last else nn.ReLU
        layers.append(conv_bn(width, after, 3, dilation=dilation if is_last else 1, activation_layer=activation))
        width = after
    return nn.Sequential(*layers)


@registry.BACKBONES.register("ultralight_slim")
def ultralight_slim(cfg: CfgNode, pretrained: bool | str = False, *, has_rfb: bool = False) -> MobileNet:
    """Build the network, for which no ImageNet weights are published; by default features at strides 8, 16, 32, 64."""
    refuse_pretrained(pretrained, cfg.MODEL.BACKBONE.NAME)
    features, channels = nn.ModuleList([conv_bn(3, 16, 3, stride=2, activation_layer=nn.ReLU)]), 16
    for number, (after, stride) in enumerate(_LAYERS, start=1):
        is_rfb = has_rfb and number == _RFB_LAYER
        features.append(RFB(channels) if is_rfb else separable_conv(channels, after, stride))
        channels = after
    extra = nn.Sequential(*plain_separable_extra_block(channels, 64, 256), nn.ReLU(inplace=True))
    return MobileNet(features, nn.ModuleList([extra]), cfg.MODEL.BACKBONE.OUT_INDICES or (7, 10, 12))


registry.BACKBONES.register("ultralight_rfb", partial(ultralight_slim, has_rfb=True))
