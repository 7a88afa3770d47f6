"""SqueezeNet 1.1 (arXiv:1602.07360) without its classifier, and the extra layers of sq-ssd-lite of the qfgaohao port.

There are no batch norms. Pixels: see ``pretrained``.
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

_OUT_INDICES = (11,)  # the last but one of the fire modules
_STAGES = (7, 12)  # the last layers of stride 8 and of 16
# Input, middle and output channels, and padding, as in the qfgaohao port.
_EXTRAS = ((512, 256, 512, 2), (512, 256, 512, 1), (512, 128, 256, 1), (256, 128, 256, 1), (256, 128, 256, 1))


class SqueezeNet(nn.Module):
    """The convolutions of SqueezeNet 1.1, and separable convolutions as extra layers."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: tuple[int, ...] = _OUT_INDICES
        self.features = get_model("squeezenet1_1", weights=None).features
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = False  # unlike in torchvision, skips an incomplete window, as in the qfgaohao port
        self.extras = nn.ModuleList(plain_separable_extra_block(*shape) for shape in _EXTRAS)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to the map of stride 16 (512 channels) and the extra maps."""
        x = images
        features: list[Tensor] = []
        for index, layer in enumerate([*self.features, *self.extras]):
            x = layer(x)
            if index in self.taken or index >= len(self.features):
                features.append(x)
        return tuple(features)

    def freezable_stages(self) -> list[list[nn.Module]]:
        """Group the layers by resolution."""
        return split_at_strides(self.features)

    def take_stages(self, count: int) -> None:
        """Take the last maps of strides 8 and 16; the first extra layer has stride 32."""
        self.taken = _STAGES

    def keep_maps(self, count: int) -> None:
        """Remove the layers behind the first ``count`` maps."""
        del self.extras[count - len(self.taken) :]


@registry.BACKBONES.register("squeezenet1_1")
def squeezenet1_1(cfg: CfgNode, pretrained: bool | str = True) -> SqueezeNet:
    """Build SqueezeNet 1.1; ``pretrained`` weights fill everything but the extra layers."""
    model = SqueezeNet()
    load_pretrained(model, pretrained, default=PRETRAINED_URL, new=[r"extras\."], unused=[r"classifier\."])
    return model
