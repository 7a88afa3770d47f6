"""Feature extractors, one family for each file; importing this package registers them."""

from torch import nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.backbone.efficient_net import EfficientNet
from ssd.modeling.backbone.mobilenet import MobileNetV1
from ssd.modeling.backbone.mobilenetv2 import MobileNetV2
from ssd.modeling.backbone.mobilenetv3 import MobileNetV3, MobileNetV3SSDLite
from ssd.modeling.backbone.mobilenetv3_qfgaohao import QfgaohaoMobileNetV3
from ssd.modeling.backbone.resnet import ResNet
from ssd.modeling.backbone.squeezenet import SqueezeNet
from ssd.modeling.backbone.timm_adapter import TimmBackbone
from ssd.modeling.backbone.tiny import Tiny
from ssd.modeling.backbone.vgg import VGG
from ssd.utils.errors import ConfigError

__all__ = [
    "VGG",
    "EfficientNet",
    "MobileNetV1",
    "MobileNetV2",
    "MobileNetV3",
    "MobileNetV3SSDLite",
    "QfgaohaoMobileNetV3",
    "ResNet",
    "SqueezeNet",
    "TimmBackbone",
    "Tiny",
    "build_backbone",
]


def build_backbone(cfg: CfgNode, pretrained: bool | str) -> nn.Module:
    """Build the network of MODEL.BACKBONE.NAME, with published ImageNet weights or those of a path or URL."""
    name = cfg.MODEL.BACKBONE.NAME
    backbone: nn.Module = registry.BACKBONES[name](cfg, pretrained)
    if cfg.MODEL.BACKBONE.OUT_INDICES and not hasattr(backbone, "out_indices"):
        raise ConfigError(
            f"MODEL.BACKBONE.OUT_INDICES is {list(cfg.MODEL.BACKBONE.OUT_INDICES)}, but backbone {name!r} has fixed "
            "feature maps; leave it empty"
        )
    return backbone
