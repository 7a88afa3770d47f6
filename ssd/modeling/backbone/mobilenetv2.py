"""MobileNetV2 (arXiv:1801.04381) without its classifier, and extra layers. Pixels: see ``pretrained``.

lufficc/SSD does not divide by INPUT.PIXEL_STD; in training, the first batch norm takes most of that factor back.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from torch import nn
from torchvision.models import mobilenetv2
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.extras import separable_extra_block
from ssd.modeling.backbone.mobilenet import ExpandingBlock, MobileNet
from ssd.modeling.backbone.pretrained import load_pretrained
from ssd.modeling.layers import BatchNorm2d, conv_bn

# torchvision's MobileNet_V2_Weights.IMAGENET1K_V1, top-1 71.9 %; lufficc/SSD starts from it.
PRETRAINED_URL = "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth"

# Expansion, output channels, number of blocks, stride of the first block (MobileNetV2, Table 2).
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# Input channels, output channels and expansion, as in lufficc/SSD.
_EXTRAS = ((1280, 512, 0.2), (512, 256, 0.25), (256, 256, 0.5), (256, 64, 0.25))
_SEPARABLE_EXTRAS = (512, 256, 256, 128)  # output channels, as in torchvision and mmdetection


class MobileNetV2(MobileNet):
    """The convolutions of MobileNetV2, named as in torchvision, and extra layers.

    By default, the maps are the last of stride 16 (96 channels) and of 32 (1280); for small objects, 6 is the last of
    stride 8 (32). In expansions, 14 is the last of stride 16 (576) and 7 of stride 8 (192).
    """

    def __init__(self, out_indices: Sequence[int] = (), *, in_expansions: bool = False, separable: bool = False):
        features = v2_features()
        if separable:
            extras = separable_extras(1280)
        else:
            extras = nn.ModuleList(inverted_residual(*pair, stride=2, expansion=factor) for *pair, factor in _EXTRAS)
        # The paper takes the first map from block 14, after its expansion; lufficc/SSD, and so its weights, before it.
        out_indices = out_indices or (14 if in_expansions else 13, 18)
        super().__init__(features, extras, out_indices, in_expansions=in_expansions)


def v2_features() -> nn.Sequential:
    """Build the convolutions of MobileNetV2 without its classifier: 1280 channels at stride 32."""
    features = nn.Sequential(conv_bn(3, 32, 3, stride=2, activation_layer=nn.ReLU6))
    in_channels = 32
    for expansion, out_channels, num_blocks, first_stride in _STAGES:
        for index in range(num_blocks):
            stride = 1 if index else first_stride
            features.append(inverted_residual(in_channels, out_channels, stride=stride, expansion=expansion))
            in_channels = out_channels
    features.append(conv_bn(in_channels, 1280, 1, activation_layer=nn.ReLU6))
    return features


def inverted_residual(in_channels: int, out_channels: int, *, stride: int, expansion: float) -> ExpandingBlock:
    """Build a block that expands by a factor, filters each channel and projects (MobileNetV2, Sec. 3.3)."""
    block = mobilenetv2.InvertedResidual(in_channels, out_channels, stride, expansion, norm_layer=BatchNorm2d)
    return ExpandingBlock(block.conv, int(expansion != 1), has_skip=block.use_res_connect)


def separable_extras(in_channels: int) -> nn.ModuleList:
    """Build the extra layers of SSDLite in torchvision and mmdetection."""
    pairs = pairwise((in_channels, *_SEPARABLE_EXTRAS))
    return nn.ModuleList(separable_extra_block(before, after // 2, after) for before, after in pairs)


@registry.BACKBONES.register("mobilenet_v2")
def mobilenet_v2(
    cfg: CfgNode, pretrained: bool | str = True, *, in_expansions: bool = False, separable: bool = False
) -> MobileNetV2:
    """Build MobileNetV2; ``pretrained`` weights fill everything but the extra layers."""
    model = MobileNetV2(cfg.MODEL.BACKBONE.OUT_INDICES, in_expansions=in_expansions, separable=separable)
    load_pretrained(model, pretrained, default=PRETRAINED_URL, new=[r"extras\."], unused=[r"classifier\."])
    return model


# Its first map is from inside block 14 (MobileNetV2, Sec. 6.2; qfgaohao, uvipen).
registry.BACKBONES.register("mobilenet_v2_expansion", partial(mobilenet_v2, in_expansions=True))
registry.BACKBONES.register("mobilenet_v2_separable", partial(mobilenet_v2, separable=True))  # mmdetection
