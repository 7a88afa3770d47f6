"""SqueezeNet 1.1 (arXiv:1602.07360) without its classifier, and the extra layers of sq-ssd-lite of the qfgaohao port.

There are no batch norms. The published weights expect RGB in 0 to 1, normalised by mean (0.485, 0.456, 0.406) and
standard deviation (0.229, 0.224, 0.225) (documentation of torchvision's SqueezeNet1_1_Weights), so INPUT.PIXEL_MEAN
[123.675, 116.28, 103.53] and INPUT.PIXEL_STD [58.395, 57.12, 57.375].
"""

from torch import Tensor, nn
from torchvision.models import get_model
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.extras import plain_separable_extra_block
from ssd.modeling.backbone.pretrained import load_pretrained
from ssd.modeling.backbone.stages import split_at_strides

# torchvision's SqueezeNet1_1_Weights.IMAGENET1K_V1, top-1 58.2 %.
PRETRAINED_URL = "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth"

_TAPPED = 11  # the last but one of the fire modules
# (middle, out) channels and padding, as in the qfgaohao port.
_EXTRAS = ((256, 512, 2), (256, 512, 1), (128, 256, 1), (128, 256, 1), (128, 256, 1))


class SqueezeNet(nn.Module):
    """The convolutions of SqueezeNet 1.1, and separable convolutions as extra layers.

    Unlike torchvision's, the poolings leave an incomplete window at the border away, as in the qfgaohao port.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = get_model("squeezenet1_1", weights=None).features
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = False
        self.extras = nn.ModuleList()
        in_channels = 512
        for middle, out_channels, padding in _EXTRAS:
            self.extras.append(plain_separable_extra_block(in_channels, middle, out_channels, padding=padding))
            in_channels = out_channels

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to the map of stride 16 (512 channels) and the extra maps."""
        x = images
        features: list[Tensor] = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index == _TAPPED:
                features.append(x)
        for extra in self.extras:
            x = extra(x)
            features.append(x)
        return tuple(features)

    def freezable_stages(self) -> list[list[nn.Module]]:
        """Group the layers by resolution."""
        return split_at_strides(self.features)


@registry.BACKBONES.register("squeezenet1_1")
def squeezenet1_1(cfg: CfgNode, pretrained: bool | str = True) -> SqueezeNet:
    """Build SqueezeNet 1.1; ``pretrained`` weights fill everything but the extra layers."""
    model = SqueezeNet()
    if pretrained:
        source = pretrained if isinstance(pretrained, str) else PRETRAINED_URL
        load_pretrained(model, source, new=[r"extras\."], unused=[r"classifier\."])
    return model
