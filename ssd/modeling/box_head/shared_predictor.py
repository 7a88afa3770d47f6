"""Predictors whose weights all levels share (RetinaNet, arXiv:1708.02002, Sec. 4), as in TensorFlow's SSDs with FPN."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ssd.modeling import registry
from ssd.modeling.box_head.box_predictor import BoxPredictor, flatten_levels
from ssd.modeling.layers import BatchNorm2d
from ssd.utils.errors import ConfigError

_DEPTH = 4  # convolutions of a tower (RetinaNet, Sec. 4)


@registry.BOX_PREDICTORS.register("SharedBoxPredictor")
class SharedBoxPredictor(BoxPredictor):
    """A tower of 3x3 convolutions each for offsets and scores, and a 3x3 convolution behind it.

    Each level has its own batch norms. Arguments are those of BoxPredictor; the levels must have equal channels, as a
    neck gives them, and equal numbers of priors.
    """

    is_light = False  # depthwise separable convolutions, and one tower for both

    def __init__(
        self,
        in_channels: Sequence[int],
        boxes_per_location: Sequence[int],
        num_classes: int,
        score_function: str = "softmax",
    ):
        if len({*in_channels}) != 1 or len({*boxes_per_location}) != 1:
            raise ConfigError(
                f"MODEL.BOX_HEAD.PREDICTOR {type(self).__name__} needs levels of equal channels and priors per cell, "
                f"but they have {list(in_channels)} and {list(boxes_per_location)}; change MODEL.NECK and MODEL.PRIORS"
            )
        super().__init__(in_channels[:1], boxes_per_location[:1], num_classes, score_function)
        towers = (Tower(in_channels[0], len(in_channels), is_light=self.is_light) for _ in range(2 - self.is_light))
        self.towers = nn.ModuleList(towers)
        for header in (*self.cls_headers, *self.reg_headers) if self.is_light else ():
            # Xavier's weights would fade: they count all groups.
            nn.init.kaiming_uniform_(header.get_parameter("0.weight"))

    def _block(self, level: int, in_channels: int, out_channels: int) -> nn.Module:
        return conv3x3(in_channels, out_channels, is_light=self.is_light, bias=True)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Map one feature map (B, C_l, H_l, W_l) for each level to cls_logits (B, P, C) and bbox_pred (B, P, 4)."""
        cls_logits, bbox_pred = [], []
        for level, feature in enumerate(features):
            outputs = [tower(feature, level) for tower in self.towers]  # for offsets and, last, for scores
            bbox_pred.append(self.reg_headers[0](outputs[0]))
            cls_logits.append(self.cls_headers[0](outputs[-1]))
        return flatten_levels(cls_logits, self.num_classes), flatten_levels(bbox_pred, 4)


@registry.BOX_PREDICTORS.register("SharedSSDLiteBoxPredictor")
class SharedSSDLiteBoxPredictor(SharedBoxPredictor):
    """Depthwise separable convolutions, and one tower for offsets and scores (TensorFlow's FPNLite)."""

    is_light = True


class Tower(nn.Module):
    """Convolutions for all levels, each with ReLU6 and a batch norm of each level."""

    def __init__(self, channels: int, num_levels: int, *, is_light: bool):
        super().__init__()
        self.convs = nn.ModuleList(conv3x3(channels, channels, is_light=is_light, bias=False) for _ in range(_DEPTH))
        norms = (nn.ModuleList(BatchNorm2d(channels) for _ in range(num_levels)) for _ in range(_DEPTH))
        self.norms = nn.ModuleList(norms)

    def forward(self, features: Tensor, level: int) -> Tensor:
        """Map features (B, C, H, W) of a level to the same shape."""
        for conv, norms in zip(self.convs, self.norms, strict=True):
            features = F.relu6(norms.get_submodule(str(level))(conv(features)))
        return features


def conv3x3(in_channels: int, out_channels: int, *, is_light: bool, bias: bool) -> nn.Module:
    """Build a 3x3 convolution; a light one is a depthwise and a pointwise convolution."""
    if not is_light:
        return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=bias)
    depthwise = nn.Conv2d(in_channels, in_channels, kernel_size=3, padding=1, groups=in_channels, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=bias))
