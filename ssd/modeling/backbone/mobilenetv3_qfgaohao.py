"""MobileNetV3 of the qfgaohao port, and its extra layers.

Its blocks are not those of the paper: squeeze and excitation has batch norms and weighs what the block gives, before
the skip; where channels change but not the resolution, the skip is a convolution. Two blocks of Large have other shapes
than the paper's (arXiv:1905.02244), Small has those of Table 2. We know of no ImageNet weights that fit.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.mobilenet import MobileNet, conv_bn
from ssd.modeling.backbone.mobilenetv3 import LARGE, Block
from ssd.utils.errors import ConfigError

_LARGE = (*LARGE[:12], Block(5, 672, 160, True, True, 1), Block(5, 672, 160, True, True, 2), LARGE[14])
_SMALL = (
    Block(3, 16, 16, True, False, 2),
    Block(3, 72, 24, False, False, 2),
    Block(3, 88, 24, False, False, 1),
    Block(5, 96, 40, True, True, 2),
    Block(5, 240, 40, True, True, 1),
    Block(5, 240, 40, True, True, 1),
    Block(5, 120, 48, True, True, 1),
    Block(5, 144, 48, True, True, 1),
    Block(5, 288, 96, True, True, 2),
    Block(5, 576, 96, True, True, 1),
    Block(5, 576, 96, True, True, 1),
)
_EXTRAS = (
    Block(3, 256, 512, False, True, 2),
    Block(3, 128, 256, False, True, 2),
    Block(3, 128, 256, False, True, 2),
    Block(3, 64, 64, False, True, 2),
)
_LARGE_OUT_INDICES = (12, 16)  # 112 channels at stride 16, 960 at 32
_SMALL_OUT_INDICES = (8, 12)  # 48 channels at stride 16, 576 at 32

_SQUEEZE = 4  # hidden channels per channel of the squeeze (MobileNetV3, Sec. 5.3)


class QfgaohaoMobileNetV3(MobileNet):
    """A convolution, blocks and a 1x1 convolution, and blocks as extra layers.

    Args:
        blocks: those in between.
        out_indices: see ``MobileNet``.
    """

    def __init__(self, blocks: Sequence[Block], out_indices: Sequence[int]):
        features = nn.Sequential(conv_bn(3, 16, 3, stride=2).append(nn.Hardswish(inplace=True)))
        in_channels = 16
        for block in blocks:
            features.append(InvertedResidual(in_channels, block))
            in_channels = block.channels
        out_channels = 6 * in_channels
        features.append(conv_bn(in_channels, out_channels, 1).append(nn.Hardswish(inplace=True)))
        extras = nn.ModuleList()
        in_channels = out_channels
        for block in _EXTRAS:
            extras.append(InvertedResidual(in_channels, block))
            in_channels = block.channels
        super().__init__(features, extras, out_indices)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project, weigh channels; at stride 1 add the input, or a convolution of it.

    Args:
        in_channels: channels of the input.
        block: the shape.
    """

    def __init__(self, in_channels: int, block: Block):
        super().__init__()
        kernel_size, hidden, out_channels, has_squeeze, has_hard_swish, stride = block
        activation = nn.Hardswish if has_hard_swish else nn.ReLU
        self.conv = nn.Sequential(
            *conv_bn(in_channels, hidden, 1),
            activation(inplace=True),
            *conv_bn(hidden, hidden, kernel_size, stride=stride, groups=hidden),
            activation(inplace=True),
            *conv_bn(hidden, out_channels, 1),
        )
        self.squeeze = SqueezeExcitation(out_channels) if has_squeeze else nn.Identity()
        self.has_skip = stride == 1
        has_shortcut = self.has_skip and in_channels != out_channels
        self.shortcut = conv_bn(in_channels, out_channels, 1) if has_shortcut else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, in_channels, H, W) to (B, channels, ceil(H / stride), ceil(W / stride))."""
        x = self.squeeze(self.conv(features))
        return x + self.shortcut(features) if self.has_skip else x


class SqueezeExcitation(nn.Module):
    """Weigh each channel by what all hold on average (arXiv:1709.01507), with batch norms and a hard sigmoid."""

    def __init__(self, channels: int):
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            *conv_bn(channels, channels // _SQUEEZE, 1),
            nn.ReLU(inplace=True),
            *conv_bn(channels // _SQUEEZE, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Scale features (B, C, H, W)."""
        return features * self.weigh(features)


@registry.BACKBONES.register("mobilenet_v3_large_qfgaohao")
def mobilenet_v3_large_qfgaohao(cfg: CfgNode, pretrained: bool | str = False) -> QfgaohaoMobileNetV3:
    """Build the Large network, of mb3-large-ssd-lite."""
    _check_random(cfg, pretrained)
    return QfgaohaoMobileNetV3(_LARGE, cfg.MODEL.BACKBONE.OUT_INDICES or _LARGE_OUT_INDICES)


@registry.BACKBONES.register("mobilenet_v3_small_qfgaohao")
def mobilenet_v3_small_qfgaohao(cfg: CfgNode, pretrained: bool | str = False) -> QfgaohaoMobileNetV3:
    """Build the Small network, of mb3-small-ssd-lite."""
    _check_random(cfg, pretrained)
    return QfgaohaoMobileNetV3(_SMALL, cfg.MODEL.BACKBONE.OUT_INDICES or _SMALL_OUT_INDICES)


def _check_random(cfg: CfgNode, pretrained: bool | str) -> None:
    if pretrained:
        raise ConfigError(
            f"backbone {cfg.MODEL.BACKBONE.NAME!r} has no ImageNet weights: set MODEL.BACKBONE.PRETRAINED False; a "
            "trained detector goes to MODEL.WEIGHTS"
        )
