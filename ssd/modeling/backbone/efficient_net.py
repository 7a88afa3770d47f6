"""EfficientNet-B0 to B7 (arXiv:1905.11946) without its classifier, and extra layers. Pixels: see ``pretrained``."""

import math
from functools import partial
from itertools import accumulate

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import stochastic_depth
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.extras import extra_blocks
from ssd.modeling.backbone.mobilenet import round_channels
from ssd.modeling.backbone.pretrained import load_pretrained
from ssd.modeling.backbone.stages import split_at_strides
from ssd.modeling.layers import BatchNorm2d, SamePaddingConv2d
from ssd.structures.boxes import height_width

# Width and depth coefficients (EfficientNet, Sec. 3.3; b1 to b7 as in the authors' code), and the hash in the name of
# the file of the authors' weights, converted from TensorFlow.
_WIDTHS = (1.0, 1.0, 1.1, 1.2, 1.4, 1.6, 1.8, 2.0)
_DEPTHS = (1.0, 1.1, 1.2, 1.4, 1.8, 2.2, 2.6, 3.1)
_HASHES = ("355c32eb", "f1951068", "8bb594d6", "5fb5a3c3", "6ed6700e", "b6417697", "c76e70fd", "dcc49843")
_VARIANTS = {f"b{n}": variant for n, variant in enumerate(zip(_WIDTHS, _DEPTHS, _HASHES, strict=True))}
# lufficc/SSD names older files over plain http.
_RELEASE = "https://github.com/lukemelas/EfficientNet-PyTorch/releases/download/1.0"
PRETRAINED_URLS = {name: f"{_RELEASE}/efficientnet-{name}-{digest}.pth" for name, (*_, digest) in _VARIANTS.items()}

# Stages 2 to 8 of EfficientNet-B0: kernel size, stride of the first block, expansion, channels, number of blocks
# (EfficientNet, Table 1).
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_STEM_CHANNELS, _LAST_CHANNELS = 32, 320
_FEATURE_STAGES = (2, 4, 6)  # the last of stride 8, of 16 and of 32

_SQUEEZE = 4  # channels of a block's input per channel of its squeeze, as in the authors' code
_DROP_CONNECT = 0.2  # EfficientNet, Sec. 5.2: "stochastic depth with survival probability 0.8"
# Momentum 0.99 in TensorFlow's sense, as the authors trained.
_BatchNorm = partial(BatchNorm2d, eps=1e-3, momentum=0.01)

# Extra layers of lufficc/SSD: (middle, out, stride, padding).
_EXTRAS = ((128, 256, 2, 1), (128, 256, 1, 0), (128, 256, 1, 0))


class EfficientNet(nn.Module):
    """The convolutional stages of EfficientNet "b0" to "b7", named as the published weights, and extra layers."""

    def __init__(self, variant: str, image_size: tuple[int, int]):
        super().__init__()
        width, depth, _ = _VARIANTS[variant]
        stem_channels = round_channels(_STEM_CHANNELS * width)
        # First, so that the state dict has lufficc's order.
        self.extras = extra_blocks(
            round_channels(_LAST_CHANNELS * width), -(-min(image_size) // 32), _EXTRAS, batch_norm=False
        )
        self._conv_stem = SamePaddingConv2d(3, stem_channels, kernel_size=3, stride=2, bias=False)
        self._bn0 = _BatchNorm(stem_channels)
        stages = _build_stages(stem_channels, width, depth)
        self._blocks = nn.ModuleList(block for stage in stages for block in stage)
        ends = accumulate(len(stage) for stage in stages)
        self.feature_blocks = frozenset(end - 1 for index, end in enumerate(ends) if index in _FEATURE_STAGES)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to the maps of strides 8, 16 and 32, and the extra maps (256 channels)."""
        x = F.silu(self._bn0(self._conv_stem(images)), inplace=True)
        features: list[Tensor] = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self.feature_blocks:
                features.append(x)
        for extra in self.extras:
            features.append(extra(features[-1]))
        return tuple(features)

    def freezable_stages(self) -> list[list[nn.Module]]:
        """Group the layers by resolution."""
        return split_at_strides([self._conv_stem, self._bn0, *self._blocks])

    def keep_maps(self, count: int) -> None:
        """Remove the layers behind the first ``count`` maps."""
        del self.extras[count - len(self.feature_blocks) :]


class MBConvBlock(nn.Module):
    """Inverted residual with squeeze and excitation: expand, filter each channel, weigh channels, project."""

    def __init__(
        self, in_channels: int, channels: int, kernel_size: int, stride: int, expansion: int, *, drop_connect: float
    ):
        super().__init__()
        hidden, squeezed = in_channels * expansion, in_channels // _SQUEEZE
        self.has_expansion = expansion != 1
        self.has_skip = stride == 1 and in_channels == channels
        self.drop_connect = drop_connect
        if self.has_expansion:
            self._expand_conv = nn.Conv2d(in_channels, hidden, kernel_size=1, bias=False)
            self._bn0 = _BatchNorm(hidden)
        self._depthwise_conv = SamePaddingConv2d(
            hidden, hidden, kernel_size=kernel_size, stride=stride, groups=hidden, bias=False
        )
        self._bn1 = _BatchNorm(hidden)
        self._se_reduce = nn.Conv2d(hidden, squeezed, kernel_size=1)
        self._se_expand = nn.Conv2d(squeezed, hidden, kernel_size=1)
        self._project_conv = nn.Conv2d(hidden, channels, kernel_size=1, bias=False)
        self._bn2 = _BatchNorm(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, in_channels, H, W) to (B, channels, ceil(H / stride), ceil(W / stride))."""
        x = features
        if self.has_expansion:
            x = F.silu(self._bn0(self._expand_conv(x)), inplace=True)
        x = F.silu(self._bn1(self._depthwise_conv(x)), inplace=True)
        squeezed = F.silu(self._se_reduce(F.adaptive_avg_pool2d(x, 1)), inplace=True)  # arXiv:1709.01507
        x = x * self._se_expand(squeezed).sigmoid()
        x = self._bn2(self._project_conv(x))
        if not self.has_skip:
            return x
        return stochastic_depth(x, self.drop_connect, mode="row", training=self.training) + features


def _build_stages(in_channels: int, width: float, depth: float) -> list[list[MBConvBlock]]:
    """Build the blocks of B0 with ``width`` times the channels, and stages of ``depth`` times the blocks (Sec. 3.3)."""
    counts = [math.ceil(num_blocks * depth) for *_, num_blocks in _STAGES]
    stages: list[list[MBConvBlock]] = []
    for (kernel_size, first_stride, expansion, channels, _), count in zip(_STAGES, counts, strict=True):
        channels, position = round_channels(channels * width), sum(map(len, stages))
        stages.append([])
        for index in range(count):
            stride = 1 if index else first_stride
            drop = _DROP_CONNECT * (position + index) / sum(counts)  # deeper blocks are skipped more often
            shape = (in_channels, channels, kernel_size, stride, expansion)
            stages[-1].append(MBConvBlock(*shape, drop_connect=drop))
            in_channels = channels
    return stages


def efficient_net(cfg: CfgNode, pretrained: bool | str = True, *, variant: str) -> EfficientNet:
    """Build EfficientNet for the configured input size; ``pretrained`` weights fill everything but the extra layers."""
    model = EfficientNet(variant, height_width(cfg.INPUT.IMAGE_SIZE))
    url, unused = PRETRAINED_URLS[variant], [r"_conv_head\.", r"_bn1\.", r"_fc\."]
    load_pretrained(model, pretrained, default=url, new=[r"extras\."], unused=unused)
    return model


for _variant in _VARIANTS:
    registry.BACKBONES.register(f"efficient_net-{_variant}", partial(efficient_net, variant=_variant))
