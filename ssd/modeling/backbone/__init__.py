"""Feature extractors, one family for each file; a family is imported when one of its networks is asked for."""

from importlib import import_module
from typing import Any

from torch import nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.utils.errors import ConfigError

# Classes that `from ssd.modeling.backbone import VGG` finds, and their modules.
_CLASSES = {
    "VGG": "vgg",
    "EfficientNet": "efficient_net",
    "MobileNetV1": "mobilenet",
    "MobileNetV2": "mobilenetv2",
    "MobileNetV3": "mobilenetv3",
    "MobileNetV3SSDLite": "mobilenetv3",
    "QfgaohaoMobileNetV3": "mobilenetv3_qfgaohao",
    "ResNet": "resnet",
    "ResNet10": "resnet10",
    "SqueezeNet": "squeezenet",
    "TimmBackbone": "timm_adapter",
    "Tiny": "tiny",
}

__all__ = [*_CLASSES, "build_backbone"]


def __getattr__(name: str) -> Any:
    if name not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_CLASSES[name]}"), name)


def build_backbone(cfg: CfgNode, pretrained: bool | str) -> nn.Module:
    """Build the network of MODEL.BACKBONE.NAME, with published ImageNet weights or those of a path or URL."""
    name = cfg.MODEL.BACKBONE.NAME
    backbone: nn.Module = registry.BACKBONES[name](cfg, pretrained)
    if cfg.MODEL.BACKBONE.OUT_INDICES and not hasattr(backbone, "out_indices"):
        raise ConfigError(
            f"MODEL.BACKBONE.OUT_INDICES is {list(cfg.MODEL.BACKBONE.OUT_INDICES)}, but backbone {name!r} has fixed "
            "feature maps; leave it empty"
        )
    if cfg.MODEL.BACKBONE.WIDTH != 1 and not hasattr(backbone, "width"):
        raise ConfigError(
            f"MODEL.BACKBONE.WIDTH is {cfg.MODEL.BACKBONE.WIDTH}, but backbone {name!r} has one width; set 1"
        )
    return backbone
