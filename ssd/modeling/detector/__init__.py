"""The detector: backbone and box head together."""

from torch import nn
from yacs.config import CfgNode

from ssd.modeling.detector.ssd_detector import SSDDetector
from ssd.utils.registry import Registry

__all__ = ["SSDDetector", "build_detection_model"]

_META_ARCHITECTURES = Registry("meta architecture")
_META_ARCHITECTURES.register("SSDDetector", SSDDetector)


def build_detection_model(cfg: CfgNode, pretrained: bool = True) -> nn.Module:
    """Build the detector that a config describes.

    Args:
        cfg: the configuration; MODEL.NUM_CLASSES must be set.
        pretrained: False = without MODEL.BACKBONE.PRETRAINED, for a model whose weights are loaded afterwards.

    Raises:
        ConfigError: keys contradict each other or the backbone.
    """
    if not pretrained:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.BACKBONE.PRETRAINED = False
        cfg.freeze()
    return _META_ARCHITECTURES[cfg.MODEL.META_ARCHITECTURE](cfg)
