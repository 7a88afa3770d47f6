"""MobileNetV3-Large (arXiv:1905.02244) without its classifier, and extra layers, in two forms.

``mobilenet_v3`` has the blocks of d-li14/mobilenetv3.pytorch, as lufficc/SSD: squeeze and excitation comes before the
activation. In torchvision's network, and so in ``mobilenet_v3_ssdlite``, it comes after. Pixels: see ``pretrained``.
"""

import logging
import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import get_model, mobilenetv3
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.mobilenet import ExpandingBlock, MobileNet, round_channels
from ssd.modeling.backbone.mobilenetv2 import separable_extras
from ssd.modeling.backbone.pretrained import StateDict, adapt_variances, load_pretrained, refuse_pretrained
from ssd.modeling.layers import BatchNorm2d, conv_bn

logger = logging.getLogger(__name__)

PRETRAINED_URL = "https://github.com/d-li14/mobilenetv3.pytorch/raw/master/pretrained/mobilenetv3-large-1cd25616.pth"
# torchvision's MobileNet_V3_Large_Weights.IMAGENET1K_V1, top-1 74.0 %; its SSDLite starts from it.
TORCHVISION_URL = "https://download.pytorch.org/models/mobilenet_v3_large-8738ca79.pth"
_TORCHVISION_EPS = 1e-3  # of its batch norms


class Block(NamedTuple):
    """Shape of an inverted residual; ``hidden`` is the number of channels between expansion and projection."""

    kernel_size: int
    hidden: int
    channels: int
    has_squeeze: bool
    has_hard_swish: bool
    stride: int

    @property
    def activation(self) -> type[nn.Module]:
        """Class of the activation."""
        return nn.Hardswish if self.has_hard_swish else nn.ReLU


# MobileNetV3, Table 1; 16 channels come in.
LARGE = (
    Block(3, 16, 16, False, False, 1),
    Block(3, 64, 24, False, False, 2),
    Block(3, 72, 24, False, False, 1),
    Block(5, 72, 40, True, False, 2),
    *(Block(5, 120, 40, True, False, 1),) * 2,
    Block(3, 240, 80, False, True, 2),
    *(Block(3, hidden, 80, False, True, 1) for hidden in (200, 184, 184)),
    Block(3, 480, 112, True, True, 1),
    Block(3, 672, 112, True, True, 1),
    Block(5, 672, 160, True, True, 2),
    *(Block(5, 960, 160, True, True, 1),) * 2,
)
_LAST = len(LARGE) + 1  # the 1x1 convolution after the blocks
SQUEEZE = 4  # hidden channels per channel of the squeeze (MobileNetV3, Sec. 5.3)

# The extra layers of lufficc/SSD; 960 channels come in.
_EXTRAS = tuple(Block(3, *pair, True, True, 2) for pair in ((192, 512), (128, 256), (128, 256), (64, 64)))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, weigh channels, project without activation (MobileNetV3, Fig. 4)."""

    def __init__(self, in_channels: int, block: Block):
        super().__init__()
        hidden = block.hidden
        self.has_skip = block.stride == 1 and in_channels == block.channels
        squeeze = SqueezeExcitation(hidden) if block.has_squeeze else nn.Identity()
        activation = block.activation(inplace=True)
        has_expansion = hidden != in_channels
        self.conv = nn.Sequential(
            *(conv_bn(in_channels, hidden, 1, activation_layer=block.activation) if has_expansion else ()),
            *conv_bn(hidden, hidden, block.kernel_size, stride=block.stride, groups=hidden),
            # The published weights are numbered, and were trained, in this order.
            *((squeeze, activation) if has_expansion else (activation, squeeze)),
            *conv_bn(hidden, block.channels, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, in_channels, H, W) to (B, channels, ceil(H / stride), ceil(W / stride))."""
        return features + self.conv(features) if self.has_skip else self.conv(features)


class SqueezeExcitation(nn.Module):
    """Weights of the channels, from the means of all of them (arXiv:1709.01507), with a hard sigmoid."""

    def __init__(self, channels: int):
        super().__init__()
        squeezed = round_channels(channels // SQUEEZE)
        self.fc = nn.Sequential(
            nn.Linear(channels, squeezed), nn.ReLU(inplace=True), nn.Linear(squeezed, channels), nn.Hardsigmoid()
        )

    def forward(self, features: Tensor) -> Tensor:
        """Scale features (B, C, H, W)."""
        weights = self.fc(features.mean(dim=(2, 3)))  # (B, C)
        return features * weights[:, :, None, None]


class MobileNetV3(MobileNet):
    """A strided convolution, blocks of the class ``residual``, a 1x1 convolution, and blocks as extra layers.

    By default, the maps are the last of stride 16 (112 channels) and of 32 (960); 6 is the last of stride 8 (40).
    """

    def __init__(
        self,
        out_indices: Sequence[int] = (),
        *,
        blocks: Sequence[Block] = LARGE,
        extras: Sequence[Block] = _EXTRAS,
        residual: type[nn.Module] = InvertedResidual,
    ):
        features = nn.Sequential(conv_bn(3, 16, 3, stride=2, activation_layer=nn.Hardswish))
        in_channels = 16
        for block in blocks:
            features.append(residual(in_channels, block))
            in_channels = block.channels
        last = 6 * in_channels
        features.append(conv_bn(in_channels, last, 1, activation_layer=nn.Hardswish))
        channels = (last, *(block.channels for block in extras))
        extra_layers = nn.ModuleList(residual(*pair) for pair in zip(channels, extras, strict=False))
        super().__init__(features, extra_layers, out_indices or (12, _LAST))


class MobileNetV3SSDLite(MobileNet):
    """The convolutions of torchvision's MobileNetV3-Large, and separable convolutions as extra layers.

    Blocks give their expansions (MobileNetV3, Sec. 6.3). By default, the maps are the last of stride 16 (672 channels)
    and of 32 (960; 480 with the reduced tail of Table 6); for small objects, 7 is the last of stride 8 (240).
    """

    def __init__(self, out_indices: Sequence[int] = (), *, has_reduced_tail: bool = False):
        whole = get_model(
            "mobilenet_v3_large", weights=None, norm_layer=BatchNorm2d, reduced_tail=has_reduced_tail
        ).features
        layers = [_expanding(layer) if isinstance(layer, mobilenetv3.InvertedResidual) else layer for layer in whole]
        extras = separable_extras(whole[-1].out_channels)
        super().__init__(nn.Sequential(*layers), extras, out_indices or (13, _LAST), in_expansions=True)


def _expanding(block: mobilenetv3.InvertedResidual) -> ExpandingBlock:
    is_pointwise = block.block[0][0].kernel_size == (1, 1)  # else this is the depthwise one: no expansion
    return ExpandingBlock(block.block, int(is_pointwise), has_skip=block.use_res_connect)


@registry.BACKBONES.register("mobilenet_v3")
def mobilenet_v3(cfg: CfgNode, pretrained: bool | str = True) -> MobileNetV3:
    """Build MobileNetV3-Large; ``pretrained`` weights fill everything but the extra layers."""
    model = MobileNetV3(cfg.MODEL.BACKBONE.OUT_INDICES)
    new, unused = [r"extras\."], [r"classifier\."]
    load_pretrained(model, pretrained, default=PRETRAINED_URL, convert=_convert, new=new, unused=unused)
    return model


@registry.BACKBONES.register("mobilenet_v3_ssdlite")
def mobilenet_v3_ssdlite(cfg: CfgNode, pretrained: bool | str = True) -> MobileNetV3SSDLite:
    """Build torchvision's MobileNetV3-Large; ``pretrained`` weights fill everything but the extra layers."""
    model = MobileNetV3SSDLite(cfg.MODEL.BACKBONE.OUT_INDICES)
    new, unused = [r"extras\."], [r"classifier\."]
    load_pretrained(model, pretrained, default=TORCHVISION_URL, convert=_block_to_conv, new=new, unused=unused)
    return model


@registry.BACKBONES.register("mobilenet_v3_ssdlite_reduced")
def mobilenet_v3_ssdlite_reduced(cfg: CfgNode, pretrained: bool | str = False) -> MobileNetV3SSDLite:
    """Build torchvision's MobileNetV3-Large with the reduced tail, for which no ImageNet weights are published."""
    refuse_pretrained(pretrained, "mobilenet_v3_ssdlite_reduced")
    return MobileNetV3SSDLite(cfg.MODEL.BACKBONE.OUT_INDICES, has_reduced_tail=True)


def _block_to_conv(weights: StateDict) -> StateDict:
    renamed = {re.sub(r"^(features\.\d+)\.block\.", r"\1.conv.", name): value for name, value in weights.items()}
    return adapt_variances(renamed, _TORCHVISION_EPS)


def _convert(weights: StateDict) -> StateDict:
    if any(".block." in name for name in weights):
        logger.warning(
            "These are weights of torchvision's MobileNetV3, which has squeeze and excitation after the activation and "
            "not before it: a start for training, but their outputs differ here"
        )
        return torchvision_to_ours(weights)
    # The convolution after the blocks is outside of ``features`` there; lufficc/SSD leaves it untrained.
    return {re.sub(r"^conv\.(?:0\.)?(?=\d\.\w+$)", f"features.{_LAST}.", name): v for name, v in weights.items()}


def torchvision_to_ours(weights: StateDict) -> StateDict:
    """Rename the weights of torchvision's mobilenet_v3_large, and adapt them to our batch norms."""
    with torch.device("meta"):
        theirs, ours = get_model("mobilenet_v3_large", weights=None).features, MobileNetV3().features
    names = dict(zip(theirs.state_dict(prefix="features."), ours.state_dict(prefix="features."), strict=True))
    converted: StateDict = {}
    for name, value in weights.items():
        is_linear = ".fc" in name and name.endswith("weight")  # a 1x1 convolution there
        converted[names.get(name, name)] = value.flatten(1) if is_linear else value
    return adapt_variances(converted, _TORCHVISION_EPS)
