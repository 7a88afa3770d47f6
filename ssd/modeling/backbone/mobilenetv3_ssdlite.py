"""torchvision's MobileNetV3-Large (arXiv:1905.02244) without its classifier, and the extra layers of its SSDLite.

Unlike ``mobilenet_v3``, it has squeeze and excitation after the activation, and its first feature map is the expansion
of the block that goes to stride 32 (MobileNetV3, Sec. 6.3). With the reduced tail, what follows that expansion has half
the channels (Table 6, the rows with a dagger).

The published weights expect RGB in 0 to 1, normalised by mean (0.485, 0.456, 0.406) and standard deviation
(0.229, 0.224, 0.225) (documentation of torchvision's MobileNet_V3_Large_Weights), so INPUT.PIXEL_MEAN [123.675, 116.28,
103.53] and INPUT.PIXEL_STD [58.395, 57.12, 57.375].
"""

import re
from collections.abc import Sequence

from torch import nn
from torchvision.models import get_model
from torchvision.models.mobilenetv3 import InvertedResidual
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.mobilenet import ExpandingBlock, MobileNet
from ssd.modeling.backbone.mobilenetv2 import separable_extras
from ssd.modeling.backbone.pretrained import StateDict, adapt_variances, load_pretrained
from ssd.modeling.layers import BatchNorm2d
from ssd.utils.errors import ConfigError

# torchvision's MobileNet_V3_Large_Weights.IMAGENET1K_V1, top-1 74.0 %; its SSDLite starts from it.
PRETRAINED_URL = "https://download.pytorch.org/models/mobilenet_v3_large-8738ca79.pth"
_PRETRAINED_EPS = 1e-3  # of its batch norms

_OUT_INDICES = (13, 16)  # the last expansion of stride 16, and the last layer


class MobileNetV3SSDLite(MobileNet):
    """The convolutions of torchvision's MobileNetV3-Large, and separable convolutions as extra layers.

    Args:
        out_indices: see ``MobileNet``; of a block it is the expansion. As it stands: the last of stride 16 (672
            channels), and the last of 32 (960, with the reduced tail 480). 7 is the last of stride 8 (240 channels),
            for small objects.
        has_reduced_tail: what follows layer 13's expansion has half the channels.
    """

    def __init__(self, out_indices: Sequence[int] = _OUT_INDICES, *, has_reduced_tail: bool = False):
        whole = get_model(
            "mobilenet_v3_large", weights=None, norm_layer=BatchNorm2d, reduced_tail=has_reduced_tail
        ).features
        layers = [_expanding(layer) if isinstance(layer, InvertedResidual) else layer for layer in whole]
        extras = separable_extras(whole[-1].out_channels)
        super().__init__(nn.Sequential(*layers), extras, out_indices, in_expansions=True)


def _expanding(block: InvertedResidual) -> ExpandingBlock:
    is_pointwise = block.block[0][0].kernel_size == (1, 1)  # else this is the depthwise one: no expansion
    return ExpandingBlock(block.block, int(is_pointwise), has_skip=block.use_res_connect)


@registry.BACKBONES.register("mobilenet_v3_ssdlite")
def mobilenet_v3_ssdlite(cfg: CfgNode, pretrained: bool | str = True) -> MobileNetV3SSDLite:
    """Build torchvision's MobileNetV3-Large; ``pretrained`` weights fill everything but the extra layers."""
    model = MobileNetV3SSDLite(cfg.MODEL.BACKBONE.OUT_INDICES or _OUT_INDICES)
    if pretrained:
        source = pretrained if isinstance(pretrained, str) else PRETRAINED_URL
        load_pretrained(model, source, convert=_torchvision_to_ours, new=[r"extras\."], unused=[r"classifier\."])
    return model


@registry.BACKBONES.register("mobilenet_v3_ssdlite_reduced")
def mobilenet_v3_ssdlite_reduced(cfg: CfgNode, pretrained: bool | str = False) -> MobileNetV3SSDLite:
    """Build torchvision's MobileNetV3-Large with the reduced tail; nobody has published ImageNet weights for it."""
    if pretrained:
        raise ConfigError(
            "backbone 'mobilenet_v3_ssdlite_reduced' has no ImageNet weights: set MODEL.BACKBONE.PRETRAINED False, or "
            "take 'mobilenet_v3_ssdlite', which has the whole tail; a trained detector goes to MODEL.WEIGHTS"
        )
    return MobileNetV3SSDLite(cfg.MODEL.BACKBONE.OUT_INDICES or _OUT_INDICES, has_reduced_tail=True)


def _torchvision_to_ours(weights: StateDict) -> StateDict:
    renamed = {re.sub(r"^(features\.\d+)\.block\.", r"\1.conv.", name): value for name, value in weights.items()}
    return adapt_variances(renamed, _PRETRAINED_EPS)
