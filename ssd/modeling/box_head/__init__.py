"""The box head: predictions at every prior, and what is made of them in training and in evaluation."""

from torch import nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.box_head.box_head import SSDBoxHead
from ssd.modeling.box_head.box_predictor import SSDBoxPredictor, SSDLiteBoxPredictor
from ssd.modeling.box_head.loss import MultiBoxLoss
from ssd.modeling.box_head.post_processor import PostProcessor

__all__ = ["MultiBoxLoss", "PostProcessor", "SSDBoxHead", "SSDBoxPredictor", "SSDLiteBoxPredictor", "build_box_head"]


def build_box_head(cfg: CfgNode) -> nn.Module:
    """Build the head that MODEL.BOX_HEAD.NAME names."""
    return registry.BOX_HEADS[cfg.MODEL.BOX_HEAD.NAME](cfg)
