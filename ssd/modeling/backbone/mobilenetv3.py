"""MobileNetV3-Large (arXiv:1905.02244) without its classifier, and extra layers.

The blocks are those of d-li14/mobilenetv3.pytorch, which lufficc/SSD took over: squeeze and excitation comes before the
activation. In torchvision's MobileNetV3 it comes after. So the weights of PRETRAINED_URL give here what they gave in
their training. torchvision's fit too, but their channel weights then see other values: a start, not the same function.

Both expect RGB in 0 to 1, normalised by mean (0.485, 0.456, 0.406) and standard deviation (0.229, 0.224, 0.225) (the
training of that repository; the documentation of torchvision's MobileNet_V3_Large_Weights), so INPUT.PIXEL_MEAN
[123.675, 116.28, 103.53] and INPUT.PIXEL_STD [58.395, 57.12, 57.375]. lufficc/SSD does not divide; in training, the
first batch norm takes most of that factor back.
"""

import logging
import re
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.mobilenet import MobileNet, conv_bn, round_channels
from ssd.modeling.backbone.pretrained import StateDict, adapt_variances, load_pretrained

logger = logging.getLogger(__name__)

PRETRAINED_URL = "https://github.com/d-li14/mobilenetv3.pytorch/raw/master/pretrained/mobilenetv3-large-1cd25616.pth"
_TORCHVISION_EPS = 1e-3  # of its batch norms


class Block(NamedTuple):
    """Shape of an inverted residual; ``hidden`` is the number of channels between expansion and projection."""

    kernel_size: int
    hidden: int
    channels: int
    has_squeeze: bool
    has_hard_swish: bool
    stride: int


# MobileNetV3, Table 1; 16 channels come in.
LARGE = (
    Block(3, 16, 16, False, False, 1),
    Block(3, 64, 24, False, False, 2),
    Block(3, 72, 24, False, False, 1),
    Block(5, 72, 40, True, False, 2),
    Block(5, 120, 40, True, False, 1),
    Block(5, 120, 40, True, False, 1),
    Block(3, 240, 80, False, True, 2),
    Block(3, 200, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 480, 112, True, True, 1),
    Block(3, 672, 112, True, True, 1),
    Block(5, 672, 160, True, True, 2),
    Block(5, 960, 160, True, True, 1),
    Block(5, 960, 160, True, True, 1),
)
_LAST = len(LARGE) + 1  # the 1x1 convolution after the blocks
_OUT_INDICES = (12, _LAST)  # the last of stride 16 and of 32

# The extra layers of lufficc/SSD; 960 channels come in.
_EXTRAS = (
    Block(3, 192, 512, True, True, 2),
    Block(3, 128, 256, True, True, 2),
    Block(3, 128, 256, True, True, 2),
    Block(3, 64, 64, True, True, 2),
)

_SQUEEZE = 4  # hidden channels per channel of the squeeze (MobileNetV3, Sec. 5.3)


class MobileNetV3(MobileNet):
    """The convolutions of MobileNetV3-Large, and inverted residuals as extra layers.

    Args:
        out_indices: see ``MobileNet``. As it stands: the last of stride 16 (112 channels) and of 32 (960). 6 is the
            last of stride 8 (40 channels), for small objects.
    """

    def __init__(self, out_indices: Sequence[int] = _OUT_INDICES):
        features = nn.Sequential(_conv_bn_hard_swish(3, 16, 3, stride=2))
        in_channels = 16
        for block in LARGE:
            features.append(InvertedResidual(in_channels, block))
            in_channels = block.channels
        features.append(_conv_bn_hard_swish(in_channels, 960, 1))
        in_channels = 960
        extras = nn.ModuleList()
        for block in _EXTRAS:
            extras.append(InvertedResidual(in_channels, block))
            in_channels = block.channels
        super().__init__(features, extras, out_indices)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, weigh channels, project without activation (MobileNetV3, Fig. 4).

    Args:
        in_channels: channels of the input; there is no expansion if they are as many as ``hidden``.
        block: the shape.
    """

    def __init__(self, in_channels: int, block: Block):
        super().__init__()
        kernel_size, hidden, out_channels, has_squeeze, has_hard_swish, stride = block
        self.has_skip = stride == 1 and in_channels == out_channels
        activation = nn.Hardswish if has_hard_swish else nn.ReLU
        squeeze = SqueezeExcitation(hidden) if has_squeeze else nn.Identity()
        has_expansion = hidden != in_channels
        layers: list[nn.Module] = []
        if has_expansion:
            layers += [*conv_bn(in_channels, hidden, 1), activation(inplace=True)]
        layers += conv_bn(hidden, hidden, kernel_size, stride=stride, groups=hidden)
        # The published weights are numbered, and were trained, in this order.
        layers += [squeeze, activation(inplace=True)] if has_expansion else [activation(inplace=True), squeeze]
        layers += conv_bn(hidden, out_channels, 1)
        self.conv = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, in_channels, H, W) to (B, channels, ceil(H / stride), ceil(W / stride))."""
        return features + self.conv(features) if self.has_skip else self.conv(features)


class SqueezeExcitation(nn.Module):
    """Weigh each channel by what all of them hold on average (arXiv:1709.01507), with a hard sigmoid."""

    def __init__(self, channels: int):
        super().__init__()
        squeezed = round_channels(channels // _SQUEEZE)
        self.fc = nn.Sequential(
            nn.Linear(channels, squeezed), nn.ReLU(inplace=True), nn.Linear(squeezed, channels), nn.Hardsigmoid()
        )

    def forward(self, features: Tensor) -> Tensor:
        """Scale features (B, C, H, W)."""
        weights = self.fc(features.mean(dim=(2, 3)))  # (B, C)
        return features * weights[:, :, None, None]


def _conv_bn_hard_swish(in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1) -> nn.Sequential:
    return conv_bn(in_channels, out_channels, kernel_size, stride=stride).append(nn.Hardswish(inplace=True))


@registry.BACKBONES.register("mobilenet_v3")
def mobilenet_v3(cfg: CfgNode, pretrained: bool | str = True) -> MobileNetV3:
    """Build MobileNetV3-Large; ``pretrained`` weights fill everything but the extra layers."""
    model = MobileNetV3(cfg.MODEL.BACKBONE.OUT_INDICES or _OUT_INDICES)
    if pretrained:
        source = pretrained if isinstance(pretrained, str) else PRETRAINED_URL
        load_pretrained(model, source, convert=_convert, new=[r"extras\."], unused=[r"classifier\."])
    return model


def _convert(weights: StateDict) -> StateDict:
    if any(".block." in name for name in weights):
        logger.warning(
            "These are weights of torchvision's MobileNetV3, which has squeeze and excitation after the activation and "
            "not before it: they are a start for training, but do not compute here what they did there"
        )
        return torchvision_to_ours(weights)
    # The convolution after the blocks lies outside of ``features`` there; lufficc/SSD leaves it untrained.
    return {re.sub(r"^conv\.(?:0\.)?(?=\d\.\w+$)", f"features.{_LAST}.", name): v for name, v in weights.items()}


def torchvision_to_ours(weights: StateDict) -> StateDict:
    """Rename the weights of torchvision's mobilenet_v3_large, and adapt them to our batch norms."""
    layers = _torchvision_layers()
    converted: StateDict = {}
    for name, value in weights.items():
        layer, _, tensor = name.rpartition(".")
        if layer in layers:
            name = f"{layers[layer]}.{tensor}"
        if ".fc." in name and tensor == "weight":
            value = value.flatten(1)  # a 1x1 convolution there
        converted[name] = value
    return adapt_variances(converted, _TORCHVISION_EPS)


def _torchvision_layers() -> dict[str, str]:
    """Our names of the layers in the blocks, by torchvision's, who number the parts that a block has."""
    names: dict[str, str] = {}
    for number, block in enumerate(LARGE, start=1):
        theirs, ours = f"features.{number}.block", f"features.{number}.conv"
        squeeze = [5] if block.has_squeeze else []
        starts = [0, 4] if number == 1 else [0, 3, *squeeze, 7]  # block 1 has no expansion
        for position, start in enumerate(starts):
            if start == 5:
                names |= {f"{theirs}.{position}.fc1": f"{ours}.5.fc.0", f"{theirs}.{position}.fc2": f"{ours}.5.fc.2"}
            else:
                names |= {f"{theirs}.{position}.{layer}": f"{ours}.{start + layer}" for layer in (0, 1)}
    return names
