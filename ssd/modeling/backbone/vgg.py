"""VGG16 with the paper's changes and extra layers (SSD, Sec. 3; Fig. 2)."""

import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.pretrained import load_pretrained
from ssd.modeling.layers import L2Norm
from ssd.structures.size import height_width

# VGG16 whose fc6 and fc7 became convolutions, subsampled ("reduced"), by the authors of the amdegroot port.
PRETRAINED_URL = "https://s3.amazonaws.com/amdegroot-models/vgg16_reducedfc.pth"

# Convolutions of VGG16 by output channels; "M" a 2x2 max-pool, "C" one that keeps an odd last row (ceil mode).
_VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "C", 512, 512, 512, "M", 512, 512, 512)
_CONV4_3 = 23  # modules up to and with the ReLU of conv4_3

# Extra layers, in pairs: a 1x1 convolution to `middle` channels, then kernel x kernel to `out` channels.
# (middle, out, kernel, stride, padding); after each pair a feature map. SSD, Fig. 2 (300) and Sec. 3.3 (512).
_EXTRAS_300 = ((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0))
_EXTRAS_512 = ((256, 512, 3, 2, 1), *((128, 256, 3, 2, 1),) * 3, (128, 256, 4, 1, 1))


class VGG(nn.Module):
    """VGG16 up to fc7 as convolutions, and extra layers down to one cell.

    Args:
        image_size: (height, width) of the network input in pixels. From 512 on the smaller side, the extra layers of
            SSD512 follow, below those of SSD300; pairs whose map would vanish are left away.
    """

    def __init__(self, image_size: tuple[int, int]):
        super().__init__()
        self.vgg = nn.ModuleList(_vgg16_layers())
        self.extras = nn.ModuleList(_extra_layers(image_size))
        self.l2_norm = L2Norm(512)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to conv4_3 (512 channels, stride 8), fc7 (1024, stride 16) and the extra maps."""
        x = images
        for layer in self.vgg[:_CONV4_3]:
            x = layer(x)
        features = [self.l2_norm(x)]
        for layer in self.vgg[_CONV4_3:]:
            x = layer(x)
        features.append(x)
        for index, conv in enumerate(self.extras):
            x = F.relu(conv(x), inplace=True)
            if index % 2 == 1:
                features.append(x)
        return tuple(features)


def _vgg16_layers() -> list[nn.Module]:
    layers: list[nn.Module] = []
    in_channels = 3
    for entry in _VGG16:
        if isinstance(entry, str):
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=entry == "C"))
        else:
            layers += [nn.Conv2d(in_channels, entry, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
            in_channels = entry
    pool5 = nn.MaxPool2d(kernel_size=3, stride=1, padding=1)  # no subsampling; fc6 is dilated instead ("a trous")
    fc6 = nn.Conv2d(512, 1024, kernel_size=3, padding=6, dilation=6)
    fc7 = nn.Conv2d(1024, 1024, kernel_size=1)
    return [*layers, pool5, fc6, nn.ReLU(inplace=True), fc7, nn.ReLU(inplace=True)]


def _extra_layers(image_size: tuple[int, int]) -> list[nn.Conv2d]:
    layers: list[nn.Conv2d] = []
    in_channels, smaller_side = 1024, min(image_size)
    cells = -(-(smaller_side // 4) // 2) // 2  # pools 1, 2 and 4 round down, pool 3 rounds up
    for middle, out, kernel, stride, padding in _EXTRAS_512 if smaller_side >= 512 else _EXTRAS_300:
        cells = (cells + 2 * padding - kernel) // stride + 1
        if cells < 1:
            break
        layers += [
            _xavier_conv(in_channels, middle, kernel_size=1),
            _xavier_conv(middle, out, kernel_size=kernel, stride=stride, padding=padding),
        ]
        in_channels = out
    return layers


def _xavier_conv(in_channels: int, out_channels: int, **kwargs: int) -> nn.Conv2d:
    """A convolution with Xavier-uniform weights and zero bias, as in the released code of the paper."""
    conv = nn.Conv2d(in_channels, out_channels, **kwargs)  # type: ignore[arg-type]
    nn.init.xavier_uniform_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


@registry.BACKBONES.register("vgg")
def vgg(cfg: CfgNode, pretrained: bool | str = True) -> VGG:
    """Build VGG16 for the configured input size; ``pretrained`` weights fill everything up to fc7."""
    model = VGG(height_width(cfg.INPUT.IMAGE_SIZE))
    if pretrained:
        source = pretrained if isinstance(pretrained, str) else PRETRAINED_URL
        load_pretrained(model.vgg, source)
    return model
