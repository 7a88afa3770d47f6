"""Parts that the MobileNets share, and MobileNetV1 (arXiv:1704.04861) without its classifier, with extra layers."""

import re
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.extras import extra_block, plain_separable_extra_block
from ssd.modeling.backbone.pretrained import StateDict, load_pretrained
from ssd.modeling.backbone.stages import split_at_strides
from ssd.modeling.layers import conv_bn
from ssd.utils.errors import ConfigError

# Output channels and stride of the depthwise separable convolutions of V1 (MobileNetV1, Table 1).
V1_LAYERS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
# Input, middle and output channels, as in the qfgaohao port.
_V1_EXTRAS = ((1024, 256, 512), (512, 128, 256), (256, 128, 256), (256, 128, 256))


class MobileNet(nn.Module):
    """Layers, some of whose outputs are feature maps, and extra layers, all of whose outputs are.

    ``out_indices`` are the numbers of those layers, ascending; with ``in_expansions``, an ExpandingBlock gives its
    expansion instead (MobileNetV2, Sec. 6.2).
    """

    def __init__(
        self,
        features: nn.Sequential | nn.ModuleList,
        extras: nn.ModuleList,
        out_indices: Sequence[int],
        *,
        in_expansions: bool = False,
    ):
        super().__init__()
        if list(out_indices) != sorted(set(out_indices)) or not set(out_indices) <= set(range(len(features))):
            raise ConfigError(
                f"MODEL.BACKBONE.OUT_INDICES must ascend within 0 to {len(features) - 1}, got {list(out_indices)}"
            )
        self.features = features
        self.extras = extras
        self.out_indices = tuple(out_indices)
        self.in_expansions = in_expansions
        reset_parameters(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to the maps of the chosen layers and of every extra layer."""
        x = images
        features: list[Tensor] = []
        for index, layer in enumerate(self.features):
            if index not in self.out_indices:
                x = layer(x)
            elif self.in_expansions and isinstance(layer, ExpandingBlock):
                features.append(layer.expand(x))
                x = layer.reduce(features[-1], x)
            else:
                x = layer(x)
                features.append(x)
        for extra in self.extras:
            x = extra(x)
            features.append(x)
        return tuple(features)

    def freezable_stages(self) -> list[list[nn.Module]]:
        """Group the layers by resolution."""
        return split_at_strides(self.features)

    def take_stages(self, count: int) -> None:
        """Take the last map of each of the last stages, without the 1x1 convolution before the classifier."""
        last = max(i for i, layer in enumerate(self.features) if not isinstance(layer, Conv2dNormActivation))
        ends = list(accumulate(len(stage) for stage in self.freezable_stages()))
        self.out_indices = (*(end - 1 for end in ends[-count:-1]), last)
        self.in_expansions = False

    def keep_maps(self, count: int) -> None:
        """Remove the layers behind the first ``count`` maps."""
        del self.extras[max(count - len(self.out_indices), 0) :]
        if not self.extras:
            del self.features[self.out_indices[-1] + 1 :]


class ExpandingBlock(nn.Module):
    """Layers, the first ``num_expanding`` to expand the channels, and perhaps a skip connection past them."""

    def __init__(self, conv: nn.Sequential, num_expanding: int, has_skip: bool):
        super().__init__()
        self.conv = conv
        self.num_expanding = num_expanding
        self.has_skip = has_skip

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride))."""
        return self.reduce(self.expand(features), features)

    def expand(self, features: Tensor) -> Tensor:
        """Map features to the expansion (B, hidden, H, W)."""
        for layer in list(self.conv)[: self.num_expanding]:
            features = layer(features)
        return features

    def reduce(self, expansion: Tensor, features: Tensor) -> Tensor:
        """Map features and their expansion to the output."""
        x = expansion
        for layer in list(self.conv)[self.num_expanding :]:
            x = layer(x)
        return features + x if self.has_skip else x


class MobileNetV1(MobileNet):
    """The convolutions of MobileNetV1 and extra layers; names within a layer are those of the qfgaohao port.

    By default, the maps are the last of stride 16 (512 channels) and of 32 (1024).
    """

    def __init__(
        self,
        out_indices: Sequence[int] = (),
        *,
        separable: bool = False,
        extras: Sequence[tuple[int, int, int]] = _V1_EXTRAS,
    ):
        features = nn.ModuleList([conv_bn(3, 32, 3, stride=2, activation_layer=nn.ReLU)])
        in_channels = 32
        for out_channels, stride in V1_LAYERS:
            features.append(separable_conv(in_channels, out_channels, stride))
            in_channels = out_channels
        plain_block = partial(extra_block, stride=2, padding=1, batch_norm=False)
        make_extra = plain_separable_extra_block if separable else plain_block
        blocks = nn.ModuleList(make_extra(*channels) for channels in extras)
        super().__init__(features, blocks, out_indices or (11, 13))


def reset_parameters(model: nn.Module) -> None:
    """Set initial weights: convolutions Kaiming-normal by fan-out, linear layers N(0, 0.01), zero biases."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def round_channels(channels: float) -> int:
    """Return the nearest multiple of 8 that is not below 90 %, as in the authors' code, also of EfficientNet."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def separable_conv(
    in_channels: int, out_channels: int, stride: int, activation: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Build a depthwise 3x3 and a pointwise convolution, each with batch norm and activation (MobileNetV1, Fig. 3)."""
    conv = partial(conv_bn, activation_layer=activation)
    depthwise = conv(in_channels, in_channels, 3, stride=stride, groups=in_channels)
    return nn.Sequential(*depthwise, *conv(in_channels, out_channels, 1))


@registry.BACKBONES.register("mobilenet_v1")
def mobilenet_v1(cfg: CfgNode, pretrained: bool | str = False, **options: Any) -> MobileNetV1:
    """Build MobileNetV1; ``pretrained`` weights fill everything but the extra layers."""
    model = MobileNetV1(cfg.MODEL.BACKBONE.OUT_INDICES, **options)
    load_pretrained(model, pretrained, convert=_number_to_feature, new=[r"extras\."], unused=[r"fc\."])
    return model


# mb1-ssd-lite of the qfgaohao port
registry.BACKBONES.register("mobilenet_v1_separable", partial(mobilenet_v1, separable=True))
# MobileNet-SSD of chuanqi305
registry.BACKBONES.register("mobilenet_v1_chuanqi", partial(mobilenet_v1, extras=(*_V1_EXTRAS[:-1], (256, 64, 128))))


def _number_to_feature(weights: StateDict) -> StateDict:
    """Rename the layers, which the published files call ``N`` or ``model.N``, to ``features.N``."""
    return {re.sub(r"^(?:model\.)?(?=\d+\.)", "features.", name): value for name, value in weights.items()}
