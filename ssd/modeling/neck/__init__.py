"""Necks: layers between the backbone and the head."""

import math
from typing import Any

from torch import nn
from yacs.config import CfgNode

from ssd.modeling.backbone.stages import feature_shapes
from ssd.modeling.layers import SamePaddingConv2d, SamePaddingMaxPool2d, with_same_padding
from ssd.modeling.neck.fpn import FPN
from ssd.structures.boxes import height_width
from ssd.utils.errors import ConfigError

__all__ = ["FPN", "build_neck"]


def build_neck(cfg: CfgNode, backbone: Any) -> nn.Module:
    """Build MODEL.NECK for a backbone, and remove the layers of the backbone that it does not use.

    It takes the last map of each of NECK.STRIDES; where OUT_INDICES is empty, from all layers of the published network.
    Behind a backbone with TensorFlow's "SAME" padding it has this padding too.
    """
    neck, strides = cfg.MODEL.NECK, cfg.MODEL.NECK.STRIDES
    if neck.NAME == "none":
        return nn.Identity()
    if hasattr(backbone, "take_stages") and not cfg.MODEL.BACKBONE.OUT_INDICES:
        backbone.take_stages(len(strides))
    image_size = height_width(cfg.INPUT.IMAGE_SIZE)
    shapes = feature_shapes(backbone, image_size)
    by_stride = {2 ** round(math.log2(image_size[0] / shape[1])): index for index, shape in enumerate(shapes)}
    if not strides or list(strides) != [stride for stride in by_stride if stride in strides]:
        raise ConfigError(
            f"MODEL.NECK.STRIDES is {list(strides)}, but must be some of {list(by_stride)}, in this order: the strides "
            f"of MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME} at INPUT.IMAGE_SIZE {cfg.INPUT.IMAGE_SIZE}"
        )
    taken = [by_stride[stride] for stride in strides]
    if hasattr(backbone, "keep_maps"):
        backbone.keep_maps(taken[-1] + 1)
    channels = [shapes[index][0] for index in taken]
    built = FPN(channels, taken, channels=neck.CHANNELS, is_light=neck.LIGHT, has_path_up=neck.NAME == "pan")
    is_same = any(isinstance(layer, SamePaddingConv2d | SamePaddingMaxPool2d) for layer in backbone.modules())
    return with_same_padding(built) if is_same else built
