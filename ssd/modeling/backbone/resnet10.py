"""ResNet-10 of OpenCV's face detector: blocks of pre-activations (arXiv:1603.05027), and extra layers.

The first layer is a batch norm of the pixels. Convolutions before a batch norm have no biases, but for the first.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.extras import extra_block
from ssd.modeling.backbone.pretrained import refuse_pretrained
from ssd.modeling.layers import BatchNorm2d, L2Norm

# Input, middle and output channels of a block, its stride and the dilation of its second convolution.
_BLOCKS = ((32, 32, 32, 1, 1), (32, 128, 128, 2, 1), (128, 256, 256, 2, 1), (256, 128, 256, 1, 2))
_FIRST_MAP = 1  # number of the block behind which the first feature map is
# Input, middle and output channels, and stride.
_EXTRAS = ((256, 128, 256, 2), (256, 64, 128, 2), (128, 64, 128, 1), (128, 64, 128, 1))


class ResNet10(nn.Module):
    """Features at strides 8 and 16, the first behind an L2 norm, and extra maps, the last three of one size."""

    def __init__(self) -> None:
        super().__init__()
        conv1 = nn.Conv2d(3, 32, kernel_size=7, stride=2, padding=3)
        pool = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
        self.stem = nn.Sequential(BatchNorm2d(3), conv1, BatchNorm2d(32), nn.ReLU(inplace=True), pool)
        self.blocks = nn.ModuleList(_Block(*block) for block in _BLOCKS)
        self.norms = nn.ModuleList(BatchNorm2d(out_channels) for _, _, out_channels, _, _ in _BLOCKS)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        self.l2_norm = L2Norm(_BLOCKS[_FIRST_MAP][2])
        self.extras = nn.ModuleList(
            extra_block(*channels, stride=stride, padding=1, batch_norm=False) for *channels, stride in _EXTRAS
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to the maps of 128 and 256 channels and the extra maps."""
        x, features = self.stem(images), []
        for index, (block, norm) in enumerate(zip(self.blocks, self.norms, strict=True)):
            x = F.relu(norm(block(x)))
            if index == _FIRST_MAP:
                features.append(self.l2_norm(x))
        features.append(x)
        for extra in self.extras:
            features.append(extra(features[-1]))
        return tuple(features)

    def keep_maps(self, count: int) -> None:
        """Remove the layers behind the first ``count`` maps."""
        del self.extras[count - 2 :]

    def freezable_stages(self) -> list[list[nn.Module]]:
        """Group the layers by resolution."""
        first, *others = ([block, norm] for block, norm in zip(self.blocks, self.norms, strict=True))
        return [[self.stem, *first], *others[:-2], [*others[-2], *others[-1]]]


class _Block(nn.Module):
    """Two 3x3 convolutions of activated features, and a shortcut, 1x1 where the shape changes."""

    def __init__(self, in_channels: int, middle: int, out_channels: int, stride: int, dilation: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, middle, 3, stride=stride, padding=1, bias=False)
        self.norm = BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, out_channels, 3, padding=dilation, dilation=dilation, bias=False)
        has_shortcut = (in_channels, middle) == (out_channels, out_channels)
        self.shortcut = None if has_shortcut else nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride))."""
        x = self.conv2(F.relu(self.norm(self.conv1(features))))
        return x + (features if self.shortcut is None else self.shortcut(features))


@registry.BACKBONES.register("resnet10_preact")
def resnet10_preact(cfg: CfgNode, pretrained: bool | str = False) -> ResNet10:
    """Build the network, for which no ImageNet weights are published."""
    refuse_pretrained(pretrained, "resnet10_preact")
    return ResNet10()
