"""Metrics: VOC mean average precision and COCO average precision, with their reports and an analysis of errors."""

from ssd.evaluation.analysis import Analysis, analyse
from ssd.evaluation.coco import eval_detection_coco
from ssd.evaluation.inputs import CocoEvaluationDataset, EvaluationDataset, ImageAnnotation, ImageDetections
from ssd.evaluation.metrics import EvaluationResult, evaluate, resolve_metric
from ssd.evaluation.voc import eval_detection_voc

__all__ = [
    "Analysis",
    "CocoEvaluationDataset",
    "EvaluationDataset",
    "EvaluationResult",
    "ImageAnnotation",
    "ImageDetections",
    "analyse",
    "eval_detection_coco",
    "eval_detection_voc",
    "evaluate",
    "resolve_metric",
]
