"""A small plain network for small images, fast to train from random weights on a CPU; the quickstart uses it."""

from torch import Tensor, nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.pretrained import refuse_pretrained
from ssd.modeling.backbone.stages import split_at_strides
from ssd.modeling.layers import conv_bn

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
        self.has_fine_map = False
        self.stages = nn.ModuleList()
        in_channels = 3
        for stage in _STAGES:
            layers: list[nn.Module] = []
            for out_channels, stride in stage:
                layer = conv_bn(in_channels, out_channels, 3, stride=stride, activation_layer=nn.ReLU)
                nn.init.kaiming_normal_(layer[0].weight, mode="fan_out", nonlinearity="relu")
                layers.append(layer)
                in_channels = out_channels
            self.stages.append(nn.Sequential(*layers))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to one feature map a stage, and that of stride 4 if it is taken."""
        features: list[Tensor] = []
        fine = self.stages[0][2] if self.has_fine_map else None  # type: ignore[index]
        for stage in self.stages:
            for layer in stage.children():
                images = layer(images)
                if layer is fine:
                    features.append(images)
            features.append(images)
        return tuple(features)

    def take_stages(self, count: int) -> None:
        """Also give the map of stride 4 where a neck takes ``count`` > 3 maps."""
        self.has_fine_map = count > 3

    def freezable_stages(self) -> list[list[nn.Module]]:
        """Group the layers by resolution."""
        return split_at_strides(layer for stage in self.stages for layer in stage.children())

    def keep_maps(self, count: int) -> None:
        """Remove the layers behind the first ``count`` maps."""
        del self.stages[count - self.has_fine_map :]


@registry.BACKBONES.register("tiny")
def tiny(cfg: CfgNode, pretrained: bool | str = False) -> Tiny:
    """Build the network, for which no weights are published."""
    refuse_pretrained(pretrained, "tiny")
    return Tiny()
