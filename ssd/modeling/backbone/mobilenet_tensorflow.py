"""MobileNetV1 and V2 as the Object Detection API of TensorFlow builds them, and its extra layers.

Convolutions are padded as "SAME", V1 has ReLU6 too, and the extra layers have batch norms and ReLU6. Pixels: from -1 to
1. Its weights come from its checkpoints (see docs/interop.md).
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from torch import nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.extras import separable_extra_block
from ssd.modeling.backbone.mobilenet import V1_LAYERS, MobileNet, separable_conv
from ssd.modeling.backbone.mobilenetv2 import PRETRAINED_URL, v2_features
from ssd.modeling.backbone.pretrained import load_pretrained
from ssd.modeling.layers import conv_bn, with_same_padding

_EXTRAS = (512, 256, 256, 128)  # output channels; half of them in the middle
_MIN_CHANNELS = 16  # "min_depth" of the configs of the API


class TensorFlowMobileNetV1(MobileNet):
    """The convolutions of MobileNetV1 with ``width`` times the channels, and extra layers; maps of stride 16 and 32."""

    def __init__(self, out_indices: Sequence[int] = (), width: float = 1.0):
        def scaled(channels: int) -> int:
            return max(int(channels * width), _MIN_CHANNELS)

        features = nn.ModuleList([conv_bn(3, scaled(32), 3, stride=2, activation_layer=nn.ReLU6)])
        for (before, _), (after, stride) in pairwise(((32, 2), *V1_LAYERS)):
            features.append(separable_conv(scaled(before), scaled(after), stride, nn.ReLU6))
        pairs = pairwise((1024, *_EXTRAS))
        extras = [extra_block(scaled(before), scaled(after // 2), scaled(after)) for before, after in pairs]
        super().__init__(features, nn.ModuleList(extras), out_indices or (11, 13))
        self.width = width


@registry.BACKBONES.register("mobilenet_v1_tensorflow")
def mobilenet_v1_tensorflow(cfg: CfgNode, pretrained: bool | str = False) -> nn.Module:
    """Build MobileNetV1 with MODEL.BACKBONE.WIDTH times the channels."""
    model = TensorFlowMobileNetV1(cfg.MODEL.BACKBONE.OUT_INDICES, cfg.MODEL.BACKBONE.WIDTH)
    load_pretrained(model, pretrained, new=[r"extras\."])
    return with_same_padding(model)


@registry.BACKBONES.register("mobilenet_v2_tensorflow")
def mobilenet_v2_tensorflow(cfg: CfgNode, pretrained: bool | str = True, *, separable: bool = False) -> nn.Module:
    """Build MobileNetV2; the first map is from inside block 14, for a neck all maps are outputs of blocks.

    ``pretrained`` weights are those of torchvision.
    """
    block = separable_extra_block if separable else extra_block
    extras = nn.ModuleList(block(before, after // 2, after) for before, after in pairwise((1280, *_EXTRAS)))
    out_indices, has_neck = cfg.MODEL.BACKBONE.OUT_INDICES or (14, 18), cfg.MODEL.NECK.NAME != "none"
    model = MobileNet(v2_features(), extras, out_indices, in_expansions=not has_neck)
    load_pretrained(model, pretrained, default=PRETRAINED_URL, new=[r"extras\."], unused=[r"classifier\."])
    return with_same_padding(model)


registry.BACKBONES.register("mobilenet_v2_tensorflow_separable", partial(mobilenet_v2_tensorflow, separable=True))


def extra_block(in_channels: int, middle: int, out_channels: int) -> nn.Sequential:
    """Build a 1x1 and a 3x3 convolution of stride 2, each with batch norm and ReLU6."""
    conv = partial(conv_bn, activation_layer=nn.ReLU6)
    return nn.Sequential(*conv(in_channels, middle, 1), *conv(middle, out_channels, 3, stride=2))
