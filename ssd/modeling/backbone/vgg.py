"""VGG16 with the paper's changes and extra layers (SSD, Sec. 3; Fig. 2).

Two kinds of weights files fit. A whole VGG16 of torchvision, such as PRETRAINED_URL: its fc6 and fc7 are subsampled to
convolutions, and its first convolution is adapted to INPUT.PIXEL_MEAN and PIXEL_STD. And one whose fc6 and fc7 are
convolutions already (vgg16_reducedfc.pth of the amdegroot port, from which the published detectors were trained): it
loads unchanged, and expects RGB in 0 to 255 less [123, 117, 104].
"""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.extras import cells_after, xavier_conv
from ssd.modeling.backbone.pretrained import StateDict, load_pretrained
from ssd.modeling.backbone.stages import split_at_strides
from ssd.modeling.layers import BatchNorm2d, L2Norm
from ssd.structures.boxes import height_width

# torchvision's VGG16_Weights.IMAGENET1K_V1, top-1 71.6 %. Of RGB in 0 to 255 it expects this mean and deviation.
PRETRAINED_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
_PUBLISHED_MEAN, _PUBLISHED_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

_POOL3 = 16  # keeps an odd last row (ceil mode)
_CONV4_3 = 23  # modules up to and with the ReLU of conv4_3

# Extra layers, in pairs: a 1x1 convolution to `middle` channels, then kernel x kernel to `out` channels.
# (middle, out, kernel, stride, padding); after each pair a feature map. SSD, Fig. 2 (300) and Sec. 3.3 (512).
_EXTRAS_300 = ((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0))
_EXTRAS_512 = ((256, 512, 3, 2, 1), *((128, 256, 3, 2, 1),) * 3, (128, 256, 4, 1, 1))


class VGG(nn.Module):
    """VGG16 up to fc7 as convolutions, and extra layers down to one cell.

    The extra layers are those of SSD512 if both sides of ``image_size`` are 512 or more. ``has_batch_norm`` gives
    conv4_3 a batch norm instead of the L2 norm, as in the qfgaohao port.
    """

    def __init__(self, image_size: tuple[int, int], has_batch_norm: bool = False):
        super().__init__()
        self.vgg = nn.ModuleList(_vgg16_layers())
        self.extras = nn.ModuleList(_extra_layers(image_size))
        self.batch_norm = BatchNorm2d(512) if has_batch_norm else None
        if not has_batch_norm:
            self.l2_norm = L2Norm(512)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to conv4_3 (512 channels, stride 8), fc7 (1024, stride 16) and the extra maps."""
        x = images
        for layer in self.vgg[:_CONV4_3]:
            x = layer(x)
        features = [self.l2_norm(x) if self.batch_norm is None else self.batch_norm(x)]
        for layer in self.vgg[_CONV4_3:]:
            x = layer(x)
        features.append(x)
        for index, conv in enumerate(self.extras):
            x = F.relu(conv(x), inplace=True)
            if index % 2 == 1:
                features.append(x)
        return tuple(features)

    def freezable_stages(self) -> list[list[nn.Module]]:
        """Group the layers by resolution: conv1 to conv4, and conv5 with fc6 and fc7."""
        return split_at_strides(self.vgg)

    def keep_maps(self, count: int) -> None:
        """Remove the layers behind the first ``count`` maps: two of the backbone, one for each pair of extra layers."""
        del self.extras[2 * (count - 2) :]


def _vgg16_layers() -> list[nn.Module]:
    """Build VGG16, with pool5 that does not subsample; fc6 is dilated instead ("a trous")."""
    layers = list(make_layers(cfgs["D"]))
    layers[_POOL3].ceil_mode = True
    layers[-1] = nn.MaxPool2d(kernel_size=3, stride=1, padding=1)
    fc6 = nn.Conv2d(512, 1024, kernel_size=3, padding=6, dilation=6)
    fc7 = nn.Conv2d(1024, 1024, kernel_size=1)
    return [*layers, fc6, nn.ReLU(inplace=True), fc7, nn.ReLU(inplace=True)]


def _extra_layers(image_size: tuple[int, int]) -> list[nn.Conv2d]:
    layers: list[nn.Conv2d] = []
    in_channels, smaller_side = 1024, min(image_size)
    cells = -(-(smaller_side // 4) // 2) // 2  # pools 1, 2 and 4 round down, pool 3 rounds up
    for middle, out, kernel, stride, padding in _EXTRAS_512 if smaller_side >= 512 else _EXTRAS_300:
        cells = cells_after(cells, stride=stride, padding=padding, kernel_size=kernel)
        if cells < 1:
            break
        layers += [
            xavier_conv(in_channels, middle, kernel_size=1),
            xavier_conv(middle, out, kernel_size=kernel, stride=stride, padding=padding),
        ]
        in_channels = out
    return layers


def reduce_vgg16(weights: StateDict, *, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> StateDict:
    """Turn a VGG16 of torchvision into that of SSD; return any other weights as they are.

    fc6 (4096, 512 * 7 * 7) becomes a convolution (1024, 512, 3, 3), fc7 (4096, 4096) one of (1024, 1024, 1, 1), by
    keeping every fourth channel and every third position (SSD, Sec. 3; DeepLab, arXiv:1412.7062, Sec. 3.2). The first
    convolution is adapted to ``pixel_mean`` and ``pixel_std``, on the scale 0 to 255.
    """
    if "classifier.0.weight" not in weights or "features.0.weight" not in weights:
        return weights
    fc6, fc7 = weights["classifier.0.weight"].unflatten(1, (512, 7, 7)), weights["classifier.3.weight"]
    return {
        **{name.removeprefix("features."): value for name, value in weights.items()},
        **_with_normalisation(weights["features.0.weight"], weights["features.0.bias"], pixel_mean, pixel_std),
        "31.weight": fc6[::4, :, ::3, ::3],
        "31.bias": weights["classifier.0.bias"][::4],
        "33.weight": fc7[::4, ::4, None, None],
        "33.bias": weights["classifier.3.bias"][::4],
    }


def _with_normalisation(
    weight: Tensor, bias: Tensor, pixel_mean: Sequence[float], pixel_std: Sequence[float]
) -> StateDict:
    """Return the first convolution for another normalisation; equal except at the border, which zeros pad."""
    scale = torch.tensor(pixel_std) / torch.tensor(_PUBLISHED_STD)
    shift = (torch.tensor(pixel_mean) - torch.tensor(_PUBLISHED_MEAN)) / torch.tensor(_PUBLISHED_STD)
    shifted_bias = bias + (weight * shift[:, None, None]).sum(dim=(1, 2, 3))
    return {"0.weight": weight * scale[:, None, None], "0.bias": shifted_bias}


@registry.BACKBONES.register("vgg")
def vgg(cfg: CfgNode, pretrained: bool | str = True, *, has_batch_norm: bool = False) -> VGG:
    """Build VGG16 for the configured input size; ``pretrained`` weights fill everything up to fc7."""
    model = VGG(height_width(cfg.INPUT.IMAGE_SIZE), has_batch_norm)
    reduce = partial(reduce_vgg16, pixel_mean=cfg.INPUT.PIXEL_MEAN, pixel_std=cfg.INPUT.PIXEL_STD)
    load_pretrained(model.vgg, pretrained, default=PRETRAINED_URL, convert=reduce, unused=[r"classifier\."])
    return model


registry.BACKBONES.register("vgg_bn_conv4_3", partial(vgg, has_batch_norm=True))
