"""MobileNetV3 of the qfgaohao port, and its extra layers. No ImageNet weights that fit are known.

Unlike in the paper (arXiv:1905.02244), squeeze and excitation has batch norms and scales the output of the block; where
only the channels change, the skip is a convolution; two blocks of Large have other shapes. Small is that of Table 2.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.mobilenetv3 import LARGE, SQUEEZE, Block, MobileNetV3
from ssd.modeling.backbone.pretrained import refuse_pretrained
from ssd.modeling.layers import conv_bn

_LARGE = (*LARGE[:12], Block(5, 672, 160, True, True, 1), Block(5, 672, 160, True, True, 2), LARGE[14])
_SMALL = (
    Block(3, 16, 16, True, False, 2),
    Block(3, 72, 24, False, False, 2),
    Block(3, 88, 24, False, False, 1),
    Block(5, 96, 40, True, True, 2),
    *(Block(5, 240, 40, True, True, 1),) * 2,
    Block(5, 120, 48, True, True, 1),
    Block(5, 144, 48, True, True, 1),
    Block(5, 288, 96, True, True, 2),
    *(Block(5, 576, 96, True, True, 1),) * 2,
)
_EXTRAS = tuple(Block(3, *pair, False, True, 2) for pair in ((256, 512), (128, 256), (128, 256), (64, 64)))


class QfgaohaoMobileNetV3(MobileNetV3):
    """MobileNetV3 of the blocks and extra layers of the port."""

    def __init__(self, blocks: Sequence[Block], out_indices: Sequence[int]):
        super().__init__(out_indices, blocks=blocks, extras=_EXTRAS, residual=QfgaohaoInvertedResidual)


class QfgaohaoInvertedResidual(nn.Module):
    """Expand, filter each channel, project, weigh channels; at stride 1 add the input, or a convolution of it."""

    def __init__(self, in_channels: int, block: Block):
        super().__init__()
        hidden, out_channels = block.hidden, block.channels
        activation = block.activation
        self.conv = nn.Sequential(
            *conv_bn(in_channels, hidden, 1, activation_layer=activation),
            *conv_bn(
                hidden, hidden, block.kernel_size, stride=block.stride, groups=hidden, activation_layer=activation
            ),
            *conv_bn(hidden, out_channels, 1),
        )
        self.squeeze = QfgaohaoSqueezeExcitation(out_channels) if block.has_squeeze else nn.Identity()
        self.has_skip = block.stride == 1
        has_shortcut = self.has_skip and in_channels != out_channels
        self.shortcut = conv_bn(in_channels, out_channels, 1) if has_shortcut else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, in_channels, H, W) to (B, channels, ceil(H / stride), ceil(W / stride))."""
        x = self.squeeze(self.conv(features))
        return x + self.shortcut(features) if self.has_skip else x


class QfgaohaoSqueezeExcitation(nn.Module):
    """Weights of the channels, from the means of all of them (arXiv:1709.01507), with batch norms."""

    def __init__(self, channels: int):
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            *conv_bn(channels, channels // SQUEEZE, 1, activation_layer=nn.ReLU),
            *conv_bn(channels // SQUEEZE, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Scale features (B, C, H, W)."""
        return features * self.weigh(features)


def _build(
    cfg: CfgNode, pretrained: bool | str = False, *, blocks: Sequence[Block], out_indices: Sequence[int]
) -> QfgaohaoMobileNetV3:
    refuse_pretrained(pretrained, cfg.MODEL.BACKBONE.NAME)
    return QfgaohaoMobileNetV3(blocks, cfg.MODEL.BACKBONE.OUT_INDICES or out_indices)


# mb3-large-ssd-lite, with 112 channels at stride 16 and 960 at 32; mb3-small-ssd-lite, with 48 and 576.
registry.BACKBONES.register("mobilenet_v3_large_qfgaohao", partial(_build, blocks=_LARGE, out_indices=(12, 16)))
registry.BACKBONES.register("mobilenet_v3_small_qfgaohao", partial(_build, blocks=_SMALL, out_indices=(8, 12)))
