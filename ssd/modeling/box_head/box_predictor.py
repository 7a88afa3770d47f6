"""Convolutions that predict class scores and box offsets on every level (SSD, Sec. 2.1).

B images, P priors over all levels, A priors per cell, C classes with background.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssd.modeling import registry
from ssd.modeling.layers import SeparableConv2d

BACKGROUND_PRIOR = 0.99  # Focal Loss, arXiv:1708.02002, Sec. 4.1


class Predictions(NamedTuple):
    """Raw outputs of the head, float32.

    Attributes:
        cls_logits: (B, P, C).
        bbox_pred: (B, P, 4) offsets from the priors.
    """

    cls_logits: Tensor
    bbox_pred: Tensor


def class_scores(cls_logits: Tensor, score_function: str) -> Tensor:
    """Turn logits (B, P, C) into scores (B, P, C - 1) without background, float32.

    "softmax" compares the classes with each other and the background; "sigmoid" is the probability of each class by
    itself, and the logit of the background has no meaning.
    """
    cls_logits = cls_logits.float()
    return (cls_logits.softmax(dim=2) if score_function == "softmax" else cls_logits.sigmoid())[..., 1:]


class BoxPredictor(nn.Module):
    """One classification and one regression header for each level; subclasses choose the convolution."""

    def __init__(
        self,
        in_channels: Sequence[int],
        boxes_per_location: Sequence[int],
        num_classes: int,
        score_function: str = "softmax",
    ):
        super().__init__()
        self.num_classes = num_classes
        self.score_function = score_function
        self.num_levels = len(in_channels)
        self.cls_headers = nn.ModuleList()
        self.reg_headers = nn.ModuleList()
        for level, (channels, boxes) in enumerate(zip(in_channels, boxes_per_location, strict=True)):
            self.cls_headers.append(self.cls_block(level, channels, boxes))
            self.reg_headers.append(self.reg_block(level, channels, boxes))
        self.reset_parameters()

    def cls_block(self, level: int, out_channels: int, boxes_per_location: int) -> nn.Module:
        """Build the classification header of a level, to A * C channels."""
        return self._block(level, out_channels, boxes_per_location * self.num_classes)

    def reg_block(self, level: int, out_channels: int, boxes_per_location: int) -> nn.Module:
        """Build the regression header of a level, to A * 4 channels."""
        return self._block(level, out_channels, boxes_per_location * 4)

    def _block(self, level: int, in_channels: int, out_channels: int) -> nn.Module:
        """Build a header of either kind."""
        raise NotImplementedError

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise every prior to predict itself, and background, or no class, with probability BACKGROUND_PRIOR.

        The released code of the paper initialises the last convolutions like the others, Xavier-uniform with zero
        biases; the first hundreds of steps then only unlearn random scores (figures in docs/benchmarks.md).
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
            if bias is not None and self.score_function == "sigmoid":
                bias.fill_(-math.log(odds))
            elif bias is not None:
                bias.unflatten(0, (-1, self.num_classes))[:, 0] = math.log(odds * (self.num_classes - 1))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Map one feature map (B, C_l, H_l, W_l) for each level to cls_logits (B, P, C) and bbox_pred (B, P, 4)."""
        cls_logits = [header(feature) for header, feature in zip(self.cls_headers, features, strict=True)]
        bbox_pred = [header(feature) for header, feature in zip(self.reg_headers, features, strict=True)]
        return flatten_levels(cls_logits, self.num_classes), flatten_levels(bbox_pred, 4)


def last_conv(header: nn.Module) -> tuple[str, nn.Conv2d]:
    """Return the last convolution of a header and its name in it, "" if it is the header itself."""
    return [(name, module) for name, module in header.named_modules() if isinstance(module, nn.Conv2d)][-1]


def flatten_levels(levels: Sequence[Tensor], num_values: int) -> Tensor:
    """Reshape predictions (B, A * V, H_l, W_l) of all levels to (B, P, V), in the order of the priors."""
    # Channel a * V + v holds value v of prior a, so NHWC puts the values of one prior side by side.
    flat = [level.permute(0, 2, 3, 1).flatten(1) for level in levels]  # (B, H_l * W_l * A * V)
    return torch.cat(flat, dim=1).unflatten(1, (-1, num_values))


@registry.BOX_PREDICTORS.register("SSDBoxPredictor")
class SSDBoxPredictor(BoxPredictor):
    """3x3 convolutions (SSD, Sec. 2.1)."""

    def _block(self, level: int, in_channels: int, out_channels: int) -> nn.Module:
        return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)


@registry.BOX_PREDICTORS.register("SSDLiteBoxPredictor")
class SSDLiteBoxPredictor(BoxPredictor):
    """Separable convolutions, and a pointwise one on the last level (MobileNetV2, Sec. 6.2)."""

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


@registry.BOX_PREDICTORS.register("UltraLightBoxPredictor")
class UltraLightBoxPredictor(PlainSSDLiteBoxPredictor):
    """As PlainSSDLiteBoxPredictor, but with a 3x3 convolution on the last level (Ultra-Light face detectors)."""

    def _block(self, level: int, in_channels: int, out_channels: int) -> nn.Module:
        if level == self.num_levels - 1:
            return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        return super()._block(level, in_channels, out_channels)


@registry.BOX_PREDICTORS.register("SeparableBoxPredictor")
class SeparableBoxPredictor(BoxPredictor):
    """Separable convolutions on every level, as torchvision's, mmdetection's and uvipen's SSDLite have."""

    def _block(self, level: int, in_channels: int, out_channels: int) -> nn.Module:
        return SeparableConv2d(in_channels, out_channels)


@registry.BOX_PREDICTORS.register("PointwiseBoxPredictor")
class PointwiseBoxPredictor(BoxPredictor):
    """1x1 convolutions, as the SSDs of TensorFlow's Object Detection API have."""

    def _block(self, level: int, in_channels: int, out_channels: int) -> nn.Module:
        return nn.Conv2d(in_channels, out_channels, kernel_size=1)
