"""MobileNetV1 (arXiv:1704.04861) and MobileNetV2 (arXiv:1801.04381) without their classifiers, and extra layers.

The published weights of V2 expect RGB in 0 to 1, normalised by mean (0.485, 0.456, 0.406) and standard deviation
(0.229, 0.224, 0.225) (documentation of torchvision's MobileNet_V2_Weights), so INPUT.PIXEL_MEAN [123.675, 116.28,
103.53] and INPUT.PIXEL_STD [58.395, 57.12, 57.375]. lufficc/SSD does not divide; in training, the first batch norm
takes most of that factor back. For V1 we know of no address to rely on; a file of one's own loads.
"""

import re
from collections.abc import Sequence

from torch import Tensor, nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.extras import extra_block
from ssd.modeling.backbone.pretrained import StateDict, load_pretrained
from ssd.modeling.backbone.stages import split_at_strides
from ssd.modeling.layers import BatchNorm2d
from ssd.utils.errors import ConfigError

# torchvision's MobileNet_V2_Weights.IMAGENET1K_V1, top-1 71.9 %; lufficc/SSD starts from it.
PRETRAINED_URL = "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth"

# Output channels and stride of the depthwise separable convolutions of V1 (MobileNetV1, Table 1).
_V1_LAYERS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
_V1_OUT_INDICES = (11, 13)  # the last of stride 16 and of 32
_V1_EXTRAS = ((256, 512), (128, 256), (128, 256), (128, 256))  # (middle, out) channels, as in the qfgaohao port

# Expansion, output channels, number of blocks, stride of the first block (MobileNetV2, Table 2).
_V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# The paper takes the first map from inside block 14, after its expansion; lufficc/SSD, and so its weights, before it.
_V2_OUT_INDICES = (13, 18)
_V2_EXTRAS = ((512, 0.2), (256, 0.25), (256, 0.5), (64, 0.25))  # output channels and expansion, as in lufficc/SSD


class MobileNet(nn.Module):
    """What the versions share: layers, some of whose outputs are feature maps, and extra layers, all of whose are.

    Args:
        features: the layers.
        extras: what follows them.
        out_indices: numbers of the layers whose outputs are feature maps, in ascending order.

    Raises:
        ConfigError: there are no such layers, or not in this order.
    """

    def __init__(self, features: nn.Sequential | nn.ModuleList, extras: nn.ModuleList, out_indices: Sequence[int]):
        super().__init__()
        if list(out_indices) != sorted(set(out_indices)) or not set(out_indices) <= set(range(len(features))):
            raise ConfigError(
                f"MODEL.BACKBONE.OUT_INDICES must ascend within 0 to {len(features) - 1}, got {list(out_indices)}"
            )
        self.features = features
        self.extras = extras
        self.out_indices = tuple(out_indices)
        reset_parameters(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to the outputs of the chosen layers and of every extra layer."""
        x = images
        features: list[Tensor] = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.out_indices:
                features.append(x)
        for extra in self.extras:
            x = extra(x)
            features.append(x)
        return tuple(features)

    def freezable_stages(self) -> list[list[nn.Module]]:
        """Group the layers by resolution."""
        return split_at_strides(self.features)


class MobileNetV1(MobileNet):
    """The convolutions of MobileNetV1 and extra layers; names within a layer are those of the qfgaohao port.

    Args:
        out_indices: see ``MobileNet``. As it stands: the last of stride 16 (512 channels) and of 32 (1024).
    """

    def __init__(self, out_indices: Sequence[int] = _V1_OUT_INDICES):
        features = nn.ModuleList([nn.Sequential(*conv_bn(3, 32, 3, stride=2), nn.ReLU(inplace=True))])
        in_channels = 32
        for out_channels, stride in _V1_LAYERS:
            features.append(_separable_conv(in_channels, out_channels, stride))
            in_channels = out_channels
        extras = nn.ModuleList()
        for middle, out_channels in _V1_EXTRAS:
            extras.append(extra_block(in_channels, middle, out_channels, stride=2, padding=1, batch_norm=False))
            in_channels = out_channels
        super().__init__(features, extras, out_indices)


class MobileNetV2(MobileNet):
    """The convolutions of MobileNetV2, named as torchvision does, and inverted residuals as extra layers.

    Args:
        out_indices: see ``MobileNet``. As it stands: the last of stride 16 (96 channels) and of 32 (1280). 6 is the
            last of stride 8 (32 channels), for small objects.
    """

    def __init__(self, out_indices: Sequence[int] = _V2_OUT_INDICES):
        features = nn.Sequential(_conv_bn_relu6(3, 32, 3, stride=2))
        in_channels = 32
        for expansion, out_channels, num_blocks, first_stride in _V2_STAGES:
            for index in range(num_blocks):
                stride = 1 if index else first_stride
                features.append(InvertedResidual(in_channels, out_channels, stride=stride, expansion=expansion))
                in_channels = out_channels
        features.append(_conv_bn_relu6(in_channels, 1280, 1))
        in_channels = 1280
        extras = nn.ModuleList()
        for out_channels, fraction in _V2_EXTRAS:
            extras.append(InvertedResidual(in_channels, out_channels, stride=2, expansion=fraction))
            in_channels = out_channels
        super().__init__(features, extras, out_indices)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project without activation (MobileNetV2, Sec. 3.3).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the depthwise convolution.
        expansion: channels in between, per channel of the input.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, expansion: float):
        super().__init__()
        hidden = round(in_channels * expansion)
        self.has_skip = stride == 1 and in_channels == out_channels
        self.conv = nn.Sequential(
            *([] if hidden == in_channels else [_conv_bn_relu6(in_channels, hidden, 1)]),
            _conv_bn_relu6(hidden, hidden, 3, stride=stride, groups=hidden),
            *conv_bn(hidden, out_channels, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride))."""
        return features + self.conv(features) if self.has_skip else self.conv(features)


def reset_parameters(model: nn.Module) -> None:
    """Initial weights of the MobileNets: convolutions Kaiming-normal by fan-out, linear N(0, 0.01), zero biases."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def conv_bn(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Build a convolution, padded to ceil(size / stride) cells, and its batch norm."""
    padding = kernel_size // 2
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, BatchNorm2d(out_channels))


def _conv_bn_relu6(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    layers = conv_bn(in_channels, out_channels, kernel_size, stride=stride, groups=groups)
    return layers.append(nn.ReLU6(inplace=True))


def _separable_conv(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Depthwise 3x3 and pointwise convolution, each with batch norm and ReLU (MobileNetV1, Fig. 3)."""
    depthwise = conv_bn(in_channels, in_channels, 3, stride=stride, groups=in_channels)
    pointwise = conv_bn(in_channels, out_channels, 1)
    return nn.Sequential(*depthwise, nn.ReLU(inplace=True), *pointwise, nn.ReLU(inplace=True))


@registry.BACKBONES.register("mobilenet_v1")
def mobilenet_v1(cfg: CfgNode, pretrained: bool | str = False) -> MobileNetV1:
    """Build MobileNetV1; ``pretrained`` weights fill everything but the extra layers."""
    model = MobileNetV1(cfg.MODEL.BACKBONE.OUT_INDICES or _V1_OUT_INDICES)
    if pretrained is True:
        raise ConfigError(
            "backbone 'mobilenet_v1' has no default weights: MODEL.BACKBONE.PRETRAINED takes a file or False"
        )
    if pretrained:
        load_pretrained(model, pretrained, convert=_number_to_feature, new=[r"extras\."], unused=[r"fc\."])
    return model


def _number_to_feature(weights: StateDict) -> StateDict:
    """Name the layers ``features.N``, which the published files call ``N`` or ``model.N``."""
    return {re.sub(r"^(?:model\.)?(?=\d+\.)", "features.", name): value for name, value in weights.items()}


@registry.BACKBONES.register("mobilenet_v2")
def mobilenet_v2(cfg: CfgNode, pretrained: bool | str = True) -> MobileNetV2:
    """Build MobileNetV2; ``pretrained`` weights fill everything but the extra layers."""
    model = MobileNetV2(cfg.MODEL.BACKBONE.OUT_INDICES or _V2_OUT_INDICES)
    if pretrained:
        source = pretrained if isinstance(pretrained, str) else PRETRAINED_URL
        load_pretrained(model, source, new=[r"extras\."], unused=[r"classifier\."])
    return model
