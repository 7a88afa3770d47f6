"""A small plain network for small images, quick to train from nothing on a CPU; the quickstart uses it."""

from torch import Tensor, nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.stages import split_at_strides
from ssd.modeling.layers import BatchNorm2d
from ssd.utils.errors import ConfigError

# Output channels and stride of every 3x3 convolution; a feature map is taken after each stage.
_STAGES = (
    ((16, 2), (32, 2), (32, 1), (64, 2), (64, 1), (64, 1)),
    ((128, 2), (128, 1), (128, 1)),
    ((128, 2), (128, 1)),
    ((128, 2),),
)


class Tiny(nn.Module):
    """Stages of 3x3 convolutions with batch norm and ReLU; features at strides 8, 16, 32 and 64."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        in_channels = 3
        for stage in _STAGES:
            layers: list[nn.Module] = []
            for out_channels, stride in stage:
                layers.append(_conv_bn_relu(in_channels, out_channels, stride))
                in_channels = out_channels
            self.stages.append(nn.Sequential(*layers))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to one feature map a stage."""
        features: list[Tensor] = []
        for stage in self.stages:
            images = stage(images)
            features.append(images)
        return tuple(features)

    def freezable_stages(self) -> list[list[nn.Module]]:
        """Group the layers by resolution."""
        return split_at_strides(layer for stage in self.stages for layer in stage.children())


def _conv_bn_relu(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, BatchNorm2d(out_channels), nn.ReLU(inplace=True))


@registry.BACKBONES.register("tiny")
def tiny(cfg: CfgNode, pretrained: bool | str = False) -> Tiny:
    """Build the network; nobody has published weights for it."""
    if pretrained:
        raise ConfigError("backbone 'tiny' has no ImageNet weights: set MODEL.BACKBONE.PRETRAINED False")
    return Tiny()
