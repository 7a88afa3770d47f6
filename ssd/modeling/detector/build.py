"""The composition root: every part of a detector, with the numbers that it is built from."""

import logging
from functools import partial
from typing import Any

from torch import nn
from yacs.config import CfgNode

from ssd.modeling import registry
from ssd.modeling.anchors import BoxCoder, IoUMatcher
from ssd.modeling.backbone import build_backbone
from ssd.modeling.backbone.stages import freeze_batch_norms, freeze_stages
from ssd.modeling.box_head import DenseLoss, MultiBoxLoss, PostProcessor, SoftPostProcessor
from ssd.modeling.detector.levels import Levels, build_levels, make_prior_box
from ssd.modeling.detector.ssd_detector import SSDDetector
from ssd.modeling.neck import build_neck
from ssd.utils.errors import ConfigError

logger = logging.getLogger(__name__)


def build_detection_model(cfg: CfgNode, pretrained: bool = True) -> SSDDetector:
    """Build the detector that a config describes; MODEL.NUM_CLASSES must be set.

    The backbone starts from MODEL.BACKBONE.PRETRAINED; with ``pretrained`` False from random weights, for a model whose
    weights are loaded afterwards.
    """
    model = cfg.MODEL
    if model.NUM_CLASSES < 2:
        raise ConfigError(f"MODEL.NUM_CLASSES is {model.NUM_CLASSES}; set it to the classes with background, 2 or more")
    backbone = build_backbone(cfg, model.BACKBONE.PRETRAINED if pretrained else False)
    neck = build_neck(cfg, backbone)
    levels = build_levels(cfg, nn.Sequential(backbone, neck))
    logger.info("%s", levels)
    box_coder = BoxCoder(model.CENTER_VARIANCE, model.SIZE_VARIANCE)
    box_head = _build(
        registry.BOX_HEADS[model.BOX_HEAD.NAME],
        cfg,
        levels,
        predictor=_build(
            registry.BOX_PREDICTORS[model.BOX_HEAD.PREDICTOR],
            cfg,
            levels,
            in_channels=levels.channels,
            boxes_per_location=levels.boxes_per_location,
            num_classes=model.NUM_CLASSES,
            score_function=model.BOX_HEAD.SCORES,
        ),
        prior_box=make_prior_box(cfg, levels),
        box_coder=box_coder,
        matcher=IoUMatcher(model.THRESHOLD, box_coder, model.IGNORE_THRESHOLD),
        loss=_build_loss(cfg, box_coder),
        post_processor=_build_post_processor(cfg, levels),
        score_function=model.BOX_HEAD.SCORES,
    )
    frozen = freeze_stages(backbone, model.BACKBONE.FREEZE_STAGES, model.BACKBONE.NAME)
    frozen += freeze_batch_norms(backbone) if model.BACKBONE.FREEZE_BATCH_NORMS else []
    detector: SSDDetector = registry.META_ARCHITECTURES[model.META_ARCHITECTURE](backbone, neck, box_head, frozen)
    return detector


def _build_loss(cfg: CfgNode, box_coder: BoxCoder) -> MultiBoxLoss:
    """Build the paper's loss or, where a key asks for more, the one that can do it."""
    model, box_head = cfg.MODEL, cfg.MODEL.BOX_HEAD
    options = box_head.SCORES, box_head.CLS_LOSS, box_head.QUALITY, box_head.L1_WEIGHT, box_head.GIOU_WEIGHT
    if options == ("softmax", "mined", "none", 1.0, 0.0) and model.IGNORE_THRESHOLD >= model.THRESHOLD:
        return MultiBoxLoss(model.NEG_POS_RATIO)
    return DenseLoss(
        model.NEG_POS_RATIO,
        box_coder,
        score_function=box_head.SCORES,
        cls_loss=box_head.CLS_LOSS,
        quality=box_head.QUALITY,
        l1_weight=box_head.L1_WEIGHT,
        giou_weight=box_head.GIOU_WEIGHT,
    )


def _build_post_processor(cfg: CfgNode, levels: Levels) -> PostProcessor:
    test = cfg.TEST
    make = partial(SoftPostProcessor, sigma=test.SOFT_NMS) if test.SOFT_NMS > 0 else PostProcessor
    return make(
        levels.image_size,
        score_threshold=test.CONFIDENCE_THRESHOLD,
        nms_threshold=test.NMS_THRESHOLD,
        pre_nms_top_k=test.PRE_NMS_TOP_K,
        max_per_class=test.MAX_PER_CLASS,
        max_per_image=test.MAX_PER_IMAGE,
        clip=test.CLIP_BOXES,
        class_agnostic=test.CLASS_AGNOSTIC_NMS,
    )


def _build(part: Any, cfg: CfgNode, levels: Levels, **numbers: Any) -> nn.Module:
    """Build a registered part: by its ``from_config(cfg, levels)`` if it has one, else by keywords."""
    built: nn.Module = part.from_config(cfg, levels) if hasattr(part, "from_config") else part(**numbers)
    return built
