"""What torchvision's ssd300_vgg16 must be told, besides its weights, to detect as a config of ours says.

All of it can be set on the model, but for three things that it does its own way.
"""

from typing import Any

from yacs.config import CfgNode

from ssd.structures.size import height_width
from ssd.weights.formats.target import are_close, has_ratio_pairs, rounded

# Defaults of ssd300_vgg16; mean and deviation are of RGB in 0 to 1 there.
_MEAN, _STD = (0.48235, 0.45882, 0.40784), (1 / 255,) * 3
_MIN_SIZES, _LAST_MAX_SIZE = (21, 45, 99, 153, 207, 261), 315
_RATIOS = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
_STEPS = [8, 16, 32, 64, 100, 300]
_DEFAULTS = {
    "num_classes": 91,
    "score_thresh": 0.01,
    "nms_thresh": 0.45,
    "topk_candidates": 400,
    "detections_per_img": 200,
}
_NO_LIMIT = 10**6


def differences(cfg: CfgNode) -> list[str]:
    """Return what to set in torchvision for a detector of this config, and what cannot be set; see Target."""
    found = []
    if arguments := _arguments(cfg):
        values = ", ".join(f"{name}={value}" for name, value in arguments.items())
        found.append(f"Build it as model = ssd300_vgg16(weights=None, weights_backbone=None, {values})")
    if (size := height_width(cfg.INPUT.IMAGE_SIZE)) != (300, 300):
        found.append(
            f"INPUT.IMAGE_SIZE is {size[0]} x {size[1]}, and it resizes to 300 x 300: set model.transform.fixed_size = "
            f"({size[1]}, {size[0]})"
        )
    variances = cfg.MODEL.CENTER_VARIANCE, cfg.MODEL.SIZE_VARIANCE
    if variances != (0.1, 0.2):
        center, extent = rounded(1 / variance for variance in variances)
        found.append(
            "The variances are others: set model.box_coder = torchvision.models.detection._utils.BoxCoder("
            f"({center}, {center}, {extent}, {extent}))"
        )
    return [*found, *_prior_differences(cfg), *_fixed_differences(cfg)]


def _arguments(cfg: CfgNode) -> dict[str, Any]:
    """Arguments of ssd300_vgg16 that are not its defaults."""
    test, num_classes = cfg.TEST, cfg.MODEL.NUM_CLASSES
    values = {
        "num_classes": 91 if num_classes == 81 else num_classes,
        "score_thresh": test.CONFIDENCE_THRESHOLD,
        "nms_thresh": test.NMS_THRESHOLD,
        "topk_candidates": test.PRE_NMS_TOP_K if test.PRE_NMS_TOP_K >= 0 else _NO_LIMIT,
        "detections_per_img": test.MAX_PER_IMAGE if test.MAX_PER_IMAGE >= 0 else _NO_LIMIT,
    }
    arguments: dict[str, Any] = {name: value for name, value in values.items() if value != _DEFAULTS[name]}
    for name, pixels, default in (
        ("image_mean", cfg.INPUT.PIXEL_MEAN, _MEAN),
        ("image_std", cfg.INPUT.PIXEL_STD, _STD),
    ):
        if not are_close([value / 255 for value in pixels], default):
            arguments[name] = rounded(value / 255 for value in pixels)
    return arguments


def _prior_differences(cfg: CfgNode) -> list[str]:
    priors, (height, width) = cfg.MODEL.PRIORS, height_width(cfg.INPUT.IMAGE_SIZE)
    is_chain = are_close(priors.MAX_SIZES[:-1], priors.MIN_SIZES[1:])
    strides = [height_width(stride) for stride in priors.STRIDES]
    if has_ratio_pairs(cfg) or not is_chain or height != width or any(y != x for y, x in strides):
        return [
            "It has no priors like these (there, large squares follow from the next level, ratios come with their "
            "inverse, and images are square): boxes differ until it is trained on there"
        ]
    ratios, steps = [list(level) for level in priors.ASPECT_RATIOS], [stride for stride, _ in strides]
    sizes, defaults = [*priors.MIN_SIZES, priors.MAX_SIZES[-1]], [*_MIN_SIZES, _LAST_MAX_SIZE]
    has_steps = priors.CENTERS == "stride"
    is_default = (ratios, steps, has_steps) == (_RATIOS, _STEPS, True) and are_close(sizes, defaults)
    if is_default and height == 300 and priors.CLIP is not False:
        return []
    scales = rounded(size / height for size in sizes)
    return [
        "The priors are others: set model.anchor_generator = torchvision.models.detection.anchor_utils."
        f"DefaultBoxGenerator({ratios}, scales={scales}{f', steps={steps}' if has_steps else ''}"
        f"{', clip=False' if priors.CLIP is False else ''})"
    ]


def _fixed_differences(cfg: CfgNode) -> list[str]:
    """What torchvision does in its own way always."""
    found = []
    if cfg.MODEL.PRIORS.CLIP is True:
        found.append(
            "It clips width and height of priors, and MODEL.PRIORS.CLIP True their centres too: some large boxes at "
            'the right and lower border move there. CLIP "size" shows what that changes'
        )
    if not cfg.TEST.CLIP_BOXES:
        found.append("It clips boxes to the image before NMS. TEST.CLIP_BOXES True shows what that changes")
    if cfg.TEST.MAX_PER_CLASS >= 0:
        found.append(f"It has no limit of detections per class, and TEST.MAX_PER_CLASS is {cfg.TEST.MAX_PER_CLASS}")
    return found
