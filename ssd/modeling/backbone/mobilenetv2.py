"""MobileNetV2 (arXiv:1801.04381) without its classifier, and extra layers.

The published weights expect RGB in 0 to 1, normalised by mean (0.485, 0.456, 0.406) and standard deviation
(0.229, 0.224, 0.225) (documentation of torchvision's MobileNet_V2_Weights), so INPUT.PIXEL_MEAN [123.675, 116.28,
103.53] and INPUT.PIXEL_STD [58.395, 57.12, 57.375]. lufficc/SSD does not divide; in training, the first batch norm
takes most of that factor back.
"""

from collections.abc import Sequence

from torch import nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.extras import separable_extra_block
from ssd.modeling.backbone.mobilenet import ExpandingBlock, MobileNet, conv_bn
from ssd.modeling.backbone.pretrained import load_pretrained

# torchvision's MobileNet_V2_Weights.IMAGENET1K_V1, top-1 71.9 %; lufficc/SSD starts from it.
PRETRAINED_URL = "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth"

# Expansion, output channels, number of blocks, stride of the first block (MobileNetV2, Table 2).
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# The paper takes the first map from inside block 14, after its expansion; lufficc/SSD, and so its weights, before it.
_OUT_INDICES = (13, 18)
_EXPANSION_OUT_INDICES = (14, 18)
_EXTRAS = ((512, 0.2), (256, 0.25), (256, 0.5), (64, 0.25))  # output channels and expansion, as in lufficc/SSD
_SEPARABLE_EXTRAS = (512, 256, 256, 128)  # output channels, as in torchvision and mmdetection


class MobileNetV2(MobileNet):
    """The convolutions of MobileNetV2, named as torchvision does, and extra layers.

    Args:
        out_indices: see ``MobileNet``. As it stands: the last of stride 16 (96 channels) and of 32 (1280). 6 is the
            last of stride 8 (32 channels), for small objects.
        in_expansions: see ``MobileNet``. Then 14 is the last of stride 16 (576 channels) and 7 of stride 8 (192).
        separable: the extra layers are separable convolutions; else inverted residuals.
    """

    def __init__(
        self, out_indices: Sequence[int] = _OUT_INDICES, *, in_expansions: bool = False, separable: bool = False
    ):
        features = nn.Sequential(_conv_bn_relu6(3, 32, 3, stride=2))
        in_channels = 32
        for expansion, out_channels, num_blocks, first_stride in _STAGES:
            for index in range(num_blocks):
                stride = 1 if index else first_stride
                features.append(InvertedResidual(in_channels, out_channels, stride=stride, expansion=expansion))
                in_channels = out_channels
        features.append(_conv_bn_relu6(in_channels, 1280, 1))
        extras = separable_extras(1280) if separable else _residual_extras(1280)
        super().__init__(features, extras, out_indices, in_expansions=in_expansions)


class InvertedResidual(ExpandingBlock):
    """Expand, filter each channel, project without activation (MobileNetV2, Sec. 3.3).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the depthwise convolution.
        expansion: channels in between, per channel of the input.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, expansion: float):
        hidden = round(in_channels * expansion)
        expanding = [] if hidden == in_channels else [_conv_bn_relu6(in_channels, hidden, 1)]
        conv = nn.Sequential(
            *expanding,
            _conv_bn_relu6(hidden, hidden, 3, stride=stride, groups=hidden),
            *conv_bn(hidden, out_channels, 1),
        )
        super().__init__(conv, len(expanding), has_skip=stride == 1 and in_channels == out_channels)


def separable_extras(in_channels: int) -> nn.ModuleList:
    """Build the extra layers of the SSDLite of torchvision and mmdetection."""
    extras = nn.ModuleList()
    for out_channels in _SEPARABLE_EXTRAS:
        extras.append(separable_extra_block(in_channels, out_channels // 2, out_channels))
        in_channels = out_channels
    return extras


def _residual_extras(in_channels: int) -> nn.ModuleList:
    extras = nn.ModuleList()
    for out_channels, expansion in _EXTRAS:
        extras.append(InvertedResidual(in_channels, out_channels, stride=2, expansion=expansion))
        in_channels = out_channels
    return extras


def _conv_bn_relu6(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    layers = conv_bn(in_channels, out_channels, kernel_size, stride=stride, groups=groups)
    return layers.append(nn.ReLU6(inplace=True))


@registry.BACKBONES.register("mobilenet_v2")
def mobilenet_v2(cfg: CfgNode, pretrained: bool | str = True) -> MobileNetV2:
    """Build MobileNetV2; ``pretrained`` weights fill everything but the extra layers."""
    return _with_weights(MobileNetV2(cfg.MODEL.BACKBONE.OUT_INDICES or _OUT_INDICES), pretrained)


@registry.BACKBONES.register("mobilenet_v2_expansion")
def mobilenet_v2_expansion(cfg: CfgNode, pretrained: bool | str = True) -> MobileNetV2:
    """Build MobileNetV2 whose first map is from inside block 14 (MobileNetV2, Sec. 6.2; qfgaohao, uvipen)."""
    out_indices = cfg.MODEL.BACKBONE.OUT_INDICES or _EXPANSION_OUT_INDICES
    return _with_weights(MobileNetV2(out_indices, in_expansions=True), pretrained)


@registry.BACKBONES.register("mobilenet_v2_separable")
def mobilenet_v2_separable(cfg: CfgNode, pretrained: bool | str = True) -> MobileNetV2:
    """Build MobileNetV2 with separable convolutions as extra layers (mmdetection)."""
    model = MobileNetV2(cfg.MODEL.BACKBONE.OUT_INDICES or _OUT_INDICES, separable=True)
    return _with_weights(model, pretrained)


def _with_weights(model: MobileNetV2, pretrained: bool | str) -> MobileNetV2:
    if pretrained:
        source = pretrained if isinstance(pretrained, str) else PRETRAINED_URL
        load_pretrained(model, source, new=[r"extras\."], unused=[r"classifier\."])
    return model
