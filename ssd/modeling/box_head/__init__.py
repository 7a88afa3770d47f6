"""The box head: predictions at every prior, losses in training, detections in evaluation."""

from ssd.modeling.box_head.box_head import SSDBoxHead
from ssd.modeling.box_head.box_predictor import Predictions, SSDBoxPredictor, SSDLiteBoxPredictor
from ssd.modeling.box_head.dense_loss import DenseLoss
from ssd.modeling.box_head.loss import LossSums, MultiBoxLoss
from ssd.modeling.box_head.post_processor import PostProcessor
from ssd.modeling.box_head.soft_nms import SoftPostProcessor

__all__ = [
    "DenseLoss",
    "LossSums",
    "MultiBoxLoss",
    "PostProcessor",
    "Predictions",
    "SSDBoxHead",
    "SSDBoxPredictor",
    "SSDLiteBoxPredictor",
    "SoftPostProcessor",
]
