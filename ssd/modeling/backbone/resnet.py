"""ResNet up to conv4 and extra layers, as NVIDIA's and MLPerf's SSD300 use it.

conv4 (``layer3``) keeps the resolution of conv3, so that the first feature map has stride 8; conv5 is left away. The
names that the references give to these layers are in ``ssd.weights.formats.nvidia``.

The weights are torchvision's and expect RGB scaled to 0..1, less (0.485, 0.456, 0.406), over (0.229, 0.224, 0.225)
(torchvision.models, ``ResNet50_Weights.IMAGENET1K_V1.transforms``). On the scale 0..255 that is INPUT.PIXEL_MEAN
[123.675, 116.28, 103.53] and INPUT.PIXEL_STD [58.395, 57.12, 57.375].
"""

from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models import get_model
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.extras import cells_after, extra_block
from ssd.modeling.backbone.pretrained import StateDict, load_pretrained
from ssd.structures.size import height_width

# torchvision's IMAGENET1K_V1, the weights that both references start from.
PRETRAINED_URLS = {
    18: "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    34: "https://download.pytorch.org/models/resnet34-b627a593.pth",
    50: "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    101: "https://download.pytorch.org/models/resnet101-63fe2227.pth",
    152: "https://download.pytorch.org/models/resnet152-394f9c45.pth",
}

# Extra blocks: (middle, out, stride, padding). For 512 pixels all halve: maps of 64, 32, ..., 1 cells as in SSD512.
_EXTRAS_300 = ((256, 512, 2, 1), (256, 512, 2, 1), (128, 256, 2, 1), (128, 256, 1, 0), (128, 256, 1, 0))
_EXTRAS_512 = ((256, 512, 2, 1), (256, 512, 2, 1), *((128, 256, 2, 1),) * 4)


class ResNet(nn.Module):
    """ResNet up to conv4 at stride 8, and extra layers down to one cell.

    Args:
        depth: 18, 34, 50, 101 or 152.
        image_size: (height, width) of the network input in pixels. From 512 on the smaller side, the extra layers of
            SSD512 follow, below those of SSD300; blocks whose map would vanish are left away.
        extras_norm: whether the extra layers have batch norm (NVIDIA's) or biases (MLPerf's).
    """

    def __init__(self, depth: int, image_size: tuple[int, int], *, extras_norm: bool = True):
        super().__init__()
        whole = get_model(f"resnet{depth}", weights=None)
        self.conv1, self.bn1, self.relu, self.maxpool = whole.conv1, whole.bn1, whole.relu, whole.maxpool
        self.layer1, self.layer2, self.layer3 = whole.layer1, whole.layer2, whole.layer3
        for module in self.layer3[0].modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
        in_channels = self.layer3[0].downsample[0].out_channels
        last_channels = 128 if depth == 18 else 256  # NVIDIA's ResNet-18 alone ends narrower
        self.extras = _extra_layers(image_size, in_channels, last_channels, extras_norm)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to conv4 (256 or, from depth 50, 1024 channels; stride 8) and the extra maps."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = [self.layer3(self.layer2(self.layer1(x)))]
        for block in self.extras:
            features.append(block(features[-1]))
        return tuple(features)

    def freezable_stages(self) -> list[list[nn.Module]]:
        """Name the layers of conv1 to conv4."""
        return [[self.conv1, self.bn1], [self.layer1], [self.layer2], [self.layer3]]


def _extra_layers(image_size: tuple[int, int], in_channels: int, last_channels: int, batch_norm: bool) -> nn.ModuleList:
    blocks = nn.ModuleList()
    cells = -(-min(image_size) // 8)  # three halvings that round up
    plan = _EXTRAS_512 if min(image_size) >= 512 else _EXTRAS_300
    for index, (middle, out, stride, padding) in enumerate(plan, start=1):
        cells = cells_after(cells, stride=stride, padding=padding)
        if cells < 1:
            break
        out = last_channels if index == len(plan) else out
        blocks.append(extra_block(in_channels, middle, out, stride=stride, padding=padding, batch_norm=batch_norm))
        in_channels = out
    return blocks


def _with_batch_counters(weights: StateDict) -> StateDict:
    """Add the batch counts of batch norm, which files older than PyTorch 0.4.1 lack; nothing here reads them."""
    names = [name.replace("running_var", "num_batches_tracked") for name in weights if name.endswith("running_var")]
    return {**{name: torch.tensor(0) for name in names}, **weights}


def resnet(cfg: CfgNode, pretrained: bool | str = True, *, depth: int, extras_norm: bool = True) -> ResNet:
    """Build ResNet for the configured input size; ``pretrained`` weights fill everything but the extra layers."""
    model = ResNet(depth, height_width(cfg.INPUT.IMAGE_SIZE), extras_norm=extras_norm)
    if pretrained:
        source = pretrained if isinstance(pretrained, str) else PRETRAINED_URLS[depth]
        load_pretrained(model, source, convert=_with_batch_counters, new=[r"extras\."], unused=[r"layer4\.", r"fc\."])
    return model


for _depth in PRETRAINED_URLS:
    registry.BACKBONES.register(f"resnet{_depth}", partial(resnet, depth=_depth))
registry.BACKBONES.register("resnet34_mlperf", partial(resnet, depth=34, extras_norm=False))
