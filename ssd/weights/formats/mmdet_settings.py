"""What a config of mmdetection must say, besides the weights, to detect as a config of ours says.

Its configs nest dicts; what is inside one is written with dots, as ``--cfg-options`` of mmdetection takes it.
"""

from typing import Any

from yacs.config import CfgNode

from ssd.structures.size import height_width
from ssd.weights.formats.target import are_close, has_ratio_pairs, rounded

_MEAN = (123.675, 116.28, 103.53)
# Of ssd300_coco.py and ssd512_coco.py: sides of the small squares, and of the large one of the last level.
_SIZES = {
    300: ((21, 45, 99, 153, 207, 261), 315),
    512: ((20, 51, 133, 215, 296, 378, 460), 542),
}
_STRIDES = {300: [8, 16, 32, 64, 100, 300], 512: [8, 16, 32, 64, 128, 256, 512]}
_RATIOS = {300: [[2], [2, 3], [2, 3], [2, 3], [2], [2]], 512: [[2], *([2, 3],) * 4, [2], [2]]}


def differences(cfg: CfgNode) -> list[str]:
    """Return what to set in mmdetection for a detector of this config, and what cannot be set; see Target."""
    size = 512 if len(cfg.MODEL.PRIORS.MIN_SIZES) == 7 else 300
    settings = {**_head_settings(cfg), **_prior_settings(cfg, size), **_input_settings(cfg, size)}
    found = []
    if settings:
        values = ", ".join(f"{name}={value}" for name, value in settings.items())
        found.append(f"Take its config ssd{size}_coco.py and set {values}")
    return [*found, *_fixed_differences(cfg)]


def _head_settings(cfg: CfgNode) -> dict[str, Any]:
    model, test = cfg.MODEL, cfg.TEST
    settings: dict[str, Any] = {}
    if model.NUM_CLASSES != 81:
        settings["model.bbox_head.num_classes"] = model.NUM_CLASSES - 1
    variances = [model.CENTER_VARIANCE] * 2 + [model.SIZE_VARIANCE] * 2
    if not are_close(variances, (0.1, 0.1, 0.2, 0.2)):
        settings["model.bbox_head.bbox_coder.target_stds"] = variances
    if not test.CLIP_BOXES:
        settings["model.bbox_head.bbox_coder.clip_border"] = False
    if test.CONFIDENCE_THRESHOLD != 0.02:
        settings["model.test_cfg.score_thr"] = test.CONFIDENCE_THRESHOLD
    if test.NMS_THRESHOLD != 0.45:
        settings["model.test_cfg.nms.iou_threshold"] = test.NMS_THRESHOLD
    if test.MAX_PER_IMAGE != 200:
        settings["model.test_cfg.max_per_img"] = test.MAX_PER_IMAGE
    return settings


def _prior_settings(cfg: CfgNode, size: int) -> dict[str, Any]:
    priors = cfg.MODEL.PRIORS
    settings: dict[str, Any] = {}
    small, last = _SIZES[size]
    if not are_close(priors.MIN_SIZES, small) or not are_close(priors.MAX_SIZES, (*small[1:], last)):
        settings["min_sizes"] = rounded(priors.MIN_SIZES)
        settings["max_sizes"] = rounded(priors.MAX_SIZES)
    strides = [height_width(stride) for stride in priors.STRIDES]
    if strides != [(stride, stride) for stride in _STRIDES[size]]:
        settings["strides"] = [(x, y) for y, x in strides]
    ratios = [list(level) for level in priors.ASPECT_RATIOS]
    if ratios != _RATIOS[size] and not has_ratio_pairs(cfg):
        settings["ratios"] = ratios
    return {f"model.bbox_head.anchor_generator.{name}": value for name, value in settings.items()}


def _input_settings(cfg: CfgNode, size: int) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if not are_close(cfg.INPUT.PIXEL_MEAN, _MEAN):
        settings["model.data_preprocessor.mean"] = rounded(cfg.INPUT.PIXEL_MEAN)
    if not are_close(cfg.INPUT.PIXEL_STD, (1, 1, 1)):
        settings["model.data_preprocessor.std"] = rounded(cfg.INPUT.PIXEL_STD)
    height, width = height_width(cfg.INPUT.IMAGE_SIZE)
    if (height, width) != (size, size):
        settings["the scale of Resize in test_pipeline"] = (width, height)
    return settings


def _fixed_differences(cfg: CfgNode) -> list[str]:
    """What mmdetection does in its own way always."""
    priors, found = cfg.MODEL.PRIORS, []
    if priors.CLIP is not False:
        found.append(
            f"It never clips priors, and MODEL.PRIORS.CLIP is {priors.CLIP}: some large boxes move there. CLIP False "
            "shows what that changes"
        )
    if priors.CENTERS == "map":
        found.append("It places priors by strides, and MODEL.PRIORS.CENTERS is map: boxes move there")
    if has_ratio_pairs(cfg):
        found.append("It has each ratio of priors with its inverse, and MODEL.PRIORS.ASPECT_RATIOS has pairs")
    if cfg.TEST.PRE_NMS_TOP_K >= 0:
        found.append(
            f"It limits what goes into NMS by level (model.test_cfg.nms_pre), and TEST.PRE_NMS_TOP_K by class, to "
            f"{cfg.TEST.PRE_NMS_TOP_K}"
        )
    if cfg.TEST.MAX_PER_CLASS >= 0:
        found.append(f"It has no limit of detections per class, and TEST.MAX_PER_CLASS is {cfg.TEST.MAX_PER_CLASS}")
    return found
