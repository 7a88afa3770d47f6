"""ResNet up to conv4 and extra layers, as in NVIDIA's and MLPerf's SSD300, or whole. Pixels: see ``pretrained``."""

from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models import get_model
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.extras import extra_blocks
from ssd.modeling.backbone.pretrained import StateDict, load_pretrained
from ssd.modeling.layers import SamePaddingMaxPool2d
from ssd.structures.boxes import height_width

# torchvision's IMAGENET1K_V1, the weights that both references start from.
_HASHES = {18: "f37072fd", 34: "b627a593", 50: "0676ba61", 101: "63fe2227", 152: "394f9c45"}
PRETRAINED_URLS = {n: f"https://download.pytorch.org/models/resnet{n}-{digest}.pth" for n, digest in _HASHES.items()}

# Extra blocks: (middle, out, stride, padding). For 512 pixels all halve: maps of 64, 32, ..., 1 cells as in SSD512.
_EXTRAS_300 = ((256, 512, 2, 1), (256, 512, 2, 1), (128, 256, 2, 1), (128, 256, 1, 0), (128, 256, 1, 0))
_EXTRAS_512 = ((256, 512, 2, 1), (256, 512, 2, 1), *((128, 256, 2, 1),) * 4)


class ResNet(nn.Module):
    """ResNet up to conv4 (``layer3``), which keeps the resolution of conv3, and extra layers down to one cell.

    The extra layers are those of SSD512 if both sides of ``image_size`` are 512 or more, with batch norm (NVIDIA's) or
    biases (MLPerf's). With ``is_whole``, it is the published network, with the maps of conv2 to conv5 (strides 4, 8,
    16 and 32).
    """

    def __init__(self, depth: int, image_size: tuple[int, int], *, extras_norm: bool = True, is_whole: bool = False):
        super().__init__()
        self.is_whole = is_whole
        whole = get_model(f"resnet{depth}", weights=None)
        self.conv1, self.bn1, self.relu, self.maxpool = whole.conv1, whole.bn1, whole.relu, whole.maxpool
        self.layer1, self.layer2, self.layer3 = whole.layer1, whole.layer2, whole.layer3
        if is_whole:
            self.layer4, self.extras = whole.layer4, nn.ModuleList()
            return
        for module in self.layer3[0].modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
        plan = _EXTRAS_512 if min(image_size) >= 512 else _EXTRAS_300
        if depth == 18:  # the last map of NVIDIA's ResNet-18 alone has 128 channels
            plan = (*plan[:-1], (128, 128, *plan[-1][2:]))
        in_channels = self.layer3[0].downsample[0].out_channels
        cells = -(-min(image_size) // 8)  # three halvings that round up
        self.extras = extra_blocks(in_channels, cells, plan, batch_norm=extras_norm)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to conv4 (256 or, from depth 50, 1024 channels; stride 8) and the extra maps."""
        conv2 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        conv3 = self.layer2(conv2)
        conv4 = self.layer3(conv3)
        if self.is_whole:
            return conv2, conv3, conv4, self.layer4(conv4)
        features = [conv4]
        for block in self.extras:
            features.append(block(features[-1]))
        return tuple(features)

    def freezable_stages(self) -> list[list[nn.Module]]:
        """Return the layers of conv1 to conv4, and of conv5 if it has them."""
        last = [[self.layer4]] if self.is_whole else []
        return [[self.conv1, self.bn1], [self.layer1], [self.layer2], [self.layer3], *last]


def _with_batch_counters(weights: StateDict) -> StateDict:
    """Add the batch counts of batch norm, which files older than PyTorch 0.4.1 lack; nothing here reads them."""
    names = [name.replace("running_var", "num_batches_tracked") for name in weights if name.endswith("running_var")]
    return {**{name: torch.tensor(0) for name in names}, **weights}


def resnet(cfg: CfgNode, pretrained: bool | str = True, *, depth: int, extras_norm: bool = True) -> ResNet:
    """Build ResNet for the configured input size; under a neck it is the published network, without extra layers."""
    is_whole = cfg.MODEL.NECK.NAME != "none"
    model = ResNet(depth, height_width(cfg.INPUT.IMAGE_SIZE), extras_norm=extras_norm, is_whole=is_whole)
    url, unused = PRETRAINED_URLS[depth], [r"fc\."] if is_whole else [r"layer4\.", r"fc\."]
    load_pretrained(model, pretrained, default=url, convert=_with_batch_counters, new=[r"extras\."], unused=unused)
    return model


@registry.BACKBONES.register("resnet50_tensorflow")
def resnet50_tensorflow(cfg: CfgNode, pretrained: bool | str = False) -> ResNet:
    """Build ResNet-50 for a neck as the Object Detection API of TensorFlow does.

    Blocks that halve the map do so in their first convolution (arXiv:1512.03385; torchvision: in the second), the
    activations are ReLU6, and the pooling is padded as "SAME".
    """
    model = ResNet(50, height_width(cfg.INPUT.IMAGE_SIZE), is_whole=True)
    for block in (model.layer2[0], model.layer3[0], model.layer4[0]):
        block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
    for name in [name for name, layer in model.named_modules() if isinstance(layer, nn.ReLU)]:
        model.set_submodule(name, nn.ReLU6(inplace=True))
    model.maxpool = SamePaddingMaxPool2d(3, 2)
    load_pretrained(model, pretrained, unused=[r"fc\."])
    return model


for _depth in PRETRAINED_URLS:
    registry.BACKBONES.register(f"resnet{_depth}", partial(resnet, depth=_depth))
registry.BACKBONES.register("resnet34_mlperf", partial(resnet, depth=34, extras_norm=False))
