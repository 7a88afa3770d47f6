"""Feature pyramids: FPN (arXiv:1612.03144) in the form of TensorFlow's SSD FPNLite, and PAN (arXiv:1803.01534)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ssd.modeling.layers import BatchNorm2d

NUM_EXTRAS = 2  # levels behind those of the backbone: P6 and P7 (RetinaNet, arXiv:1708.02002, Sec. 4)


class FPN(nn.Module):
    """Maps of equal channels: those of the backbone with the context of coarser ones, and two coarser levels.

    From the coarsest map on, a 1x1 convolution of each is added to the smoothed map above, resized to it (nearest), and
    smoothed by a 3x3 convolution. The coarser levels are 3x3 convolutions of stride 2.

    Args:
        in_channels: Channels of the maps of the backbone that are taken, the finest first.
        taken: Their places among the maps of the backbone.
        is_light: Whether 3x3 convolutions are depthwise separable, as in FPNLite.
        has_path_up: Whether the levels also get the context of finer ones (PAN, Sec. 3.2).
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        taken: Sequence[int],
        *,
        channels: int,
        is_light: bool = True,
        has_path_up: bool = False,
    ):
        super().__init__()
        self.taken = tuple(taken)
        steps = range(len(in_channels) - 1)
        self.laterals = nn.ModuleList(nn.Conv2d(before, channels, kernel_size=1) for before in in_channels)
        self.smooths = nn.ModuleList(conv3x3(channels, is_light=is_light) for _ in steps)  # the finest first
        ups = steps if has_path_up else ()
        self.downs = nn.ModuleList(conv3x3(channels, stride=2, is_light=is_light) for _ in ups)
        self.fuses = nn.ModuleList(conv3x3(channels, is_light=is_light) for _ in ups)
        self.extras = nn.ModuleList(conv3x3(channels, stride=2, is_light=is_light) for _ in range(NUM_EXTRAS))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)  # as Detectron2's FPN
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map features (B, C_l, H_l, W_l) of the backbone to levels (B, channels, H_l, W_l), the finest first."""
        maps = [lateral(features[index]) for lateral, index in zip(self.laterals, self.taken, strict=True)]
        levels = maps[-1:]
        for lateral, smooth in zip(reversed(maps[:-1]), reversed(self.smooths), strict=True):
            above = F.interpolate(levels[0], size=lateral.shape[-2:], mode="nearest")
            levels.insert(0, smooth(lateral + above))
        for index, (down, fuse) in enumerate(zip(self.downs, self.fuses, strict=True), start=1):
            levels[index] = fuse(levels[index] + down(levels[index - 1]))
        for extra in self.extras:
            levels.append(extra(levels[-1]))
        return tuple(levels)


def conv3x3(channels: int, *, stride: int = 1, is_light: bool) -> nn.Sequential:
    """Build a 3x3 convolution with batch norm and ReLU6; a light one is a depthwise and a pointwise convolution."""
    groups = channels if is_light else 1
    layers = [nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=groups, bias=False)]
    if is_light:
        layers.append(nn.Conv2d(channels, channels, 1, bias=False))
    return nn.Sequential(*layers, BatchNorm2d(channels), nn.ReLU6(inplace=True))
