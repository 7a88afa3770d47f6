"""Convolutions that predict class scores and box offsets on every level (SSD, Sec. 2.1).

B images, P priors over all levels, A priors per cell, C classes with background.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.layers import SeparableConv2d

BACKGROUND_PRIOR = 0.99  # Focal Loss, arXiv:1708.02002, Sec. 4.1


class BoxPredictor(nn.Module, ABC):
    """One classification and one regression header a level; subclasses choose the convolution.

    Args:
        cfg: reads MODEL.NUM_CLASSES, BACKBONE.OUT_CHANNELS and PRIORS.BOXES_PER_LOCATION.
    """

    def __init__(self, cfg: CfgNode):
        super().__init__()
        self.num_classes = cfg.MODEL.NUM_CLASSES
        out_channels = cfg.MODEL.BACKBONE.OUT_CHANNELS
        self.num_levels = len(out_channels)
        self.cls_headers = nn.ModuleList()
        self.reg_headers = nn.ModuleList()
        levels = zip(cfg.MODEL.PRIORS.BOXES_PER_LOCATION, out_channels, strict=True)
        for level, (boxes_per_location, channels) in enumerate(levels):
            self.cls_headers.append(self.cls_block(level, channels, boxes_per_location))
            self.reg_headers.append(self.reg_block(level, channels, boxes_per_location))
        self.reset_parameters()

    @abstractmethod
    def cls_block(self, level: int, out_channels: int, boxes_per_location: int) -> nn.Module:
        """Build the classification header of a level: ``out_channels`` to A * C channels."""

    @abstractmethod
    def reg_block(self, level: int, out_channels: int, boxes_per_location: int) -> nn.Module:
        """Build the regression header of a level: ``out_channels`` to A * 4 channels."""

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start with every prior at its own place, and as background with the probability BACKGROUND_PRIOR.

        The released code of the paper draws the last convolutions like the others, Xavier-uniform with zero biases.
        Then the first hundreds of steps go into unlearning random scores (figures in docs/benchmarks.md).
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for header in [*self.cls_headers, *self.reg_headers]:
            nn.init.normal_(last_conv(header)[1].weight, std=0.01)
        odds = BACKGROUND_PRIOR / (1 - BACKGROUND_PRIOR)
        for header in self.cls_headers:
            bias = last_conv(header)[1].bias
            if bias is not None:
                bias.unflatten(0, (-1, self.num_classes))[:, 0] = math.log(odds * (self.num_classes - 1))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Predict at every prior.

        Args:
            features: one map (B, C_l, H_l, W_l) a level.

        Returns:
            cls_logits: (B, P, C); bbox_pred: (B, P, 4) offsets.
        """
        cls_logits = [header(feature) for header, feature in zip(self.cls_headers, features, strict=True)]
        bbox_pred = [header(feature) for header, feature in zip(self.reg_headers, features, strict=True)]
        return flatten_levels(cls_logits, self.num_classes), flatten_levels(bbox_pred, 4)


def last_conv(header: nn.Module) -> tuple[str, nn.Conv2d]:
    """Return the convolution that gives a header's output, and its name within the header, "" if it is the header."""
    return [(name, module) for name, module in header.named_modules() if isinstance(module, nn.Conv2d)][-1]


def flatten_levels(levels: Sequence[Tensor], num_values: int) -> Tensor:
    """Lay predictions (B, A * V, H_l, W_l) of all levels out as (B, P, V), in the order of the priors."""
    # Channel a * V + v holds value v of prior a, so NHWC puts the values of one prior side by side.
    flat = [level.permute(0, 2, 3, 1).flatten(1) for level in levels]  # (B, H_l * W_l * A * V)
    return torch.cat(flat, dim=1).unflatten(1, (-1, num_values))


@registry.BOX_PREDICTORS.register("SSDBoxPredictor")
class SSDBoxPredictor(BoxPredictor):
    """3x3 convolutions (SSD, Sec. 2.1)."""

    def cls_block(self, level: int, out_channels: int, boxes_per_location: int) -> nn.Module:
        """See BoxPredictor."""
        return nn.Conv2d(out_channels, boxes_per_location * self.num_classes, kernel_size=3, padding=1)

    def reg_block(self, level: int, out_channels: int, boxes_per_location: int) -> nn.Module:
        """See BoxPredictor."""
        return nn.Conv2d(out_channels, boxes_per_location * 4, kernel_size=3, padding=1)


@registry.BOX_PREDICTORS.register("SSDLiteBoxPredictor")
class SSDLiteBoxPredictor(BoxPredictor):
    """Separable convolutions, and a pointwise one on the last level (MobileNetV2, Sec. 6.2)."""

    def cls_block(self, level: int, out_channels: int, boxes_per_location: int) -> nn.Module:
        """See BoxPredictor."""
        return self._block(level, out_channels, boxes_per_location * self.num_classes)

    def reg_block(self, level: int, out_channels: int, boxes_per_location: int) -> nn.Module:
        """See BoxPredictor."""
        return self._block(level, out_channels, boxes_per_location * 4)

    def _block(self, level: int, in_channels: int, out_channels: int) -> nn.Module:
        if level == self.num_levels - 1:
            return nn.Conv2d(in_channels, out_channels, kernel_size=1)
        return SeparableConv2d(in_channels, out_channels)


@registry.BOX_PREDICTORS.register("PlainSSDLiteBoxPredictor")
class PlainSSDLiteBoxPredictor(SSDLiteBoxPredictor):
    """As SSDLiteBoxPredictor, but without batch norm (mb1-ssd-lite and sq-ssd-lite of the qfgaohao port)."""

    def _block(self, level: int, in_channels: int, out_channels: int) -> nn.Module:
        if level == self.num_levels - 1:
            return super()._block(level, in_channels, out_channels)
        depthwise = nn.Conv2d(in_channels, in_channels, kernel_size=3, padding=1, groups=in_channels)
        return nn.Sequential(depthwise, nn.ReLU(inplace=True), nn.Conv2d(in_channels, out_channels, kernel_size=1))


@registry.BOX_PREDICTORS.register("SeparableBoxPredictor")
class SeparableBoxPredictor(BoxPredictor):
    """Separable convolutions on every level, as torchvision's, mmdetection's and uvipen's SSDLite have."""

    def cls_block(self, level: int, out_channels: int, boxes_per_location: int) -> nn.Module:
        """See BoxPredictor."""
        return SeparableConv2d(out_channels, boxes_per_location * self.num_classes)

    def reg_block(self, level: int, out_channels: int, boxes_per_location: int) -> nn.Module:
        """See BoxPredictor."""
        return SeparableConv2d(out_channels, boxes_per_location * 4)
