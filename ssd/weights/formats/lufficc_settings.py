"""What a config of lufficc/SSD must say, besides the weights, to detect as a config of ours says."""

from collections.abc import Sequence
from typing import Any

from yacs.config import CfgNode

from ssd.structures.size import height_width
from ssd.weights.formats.target import has_ratio_pairs

# Its keys and defaults that decide what weights detect. It derives none from another.
_DEFAULTS: dict[str, Any] = {
    "MODEL.NUM_CLASSES": 21,
    "MODEL.CENTER_VARIANCE": 0.1,
    "MODEL.SIZE_VARIANCE": 0.2,
    "MODEL.BACKBONE.NAME": "vgg",
    "MODEL.BACKBONE.OUT_CHANNELS": [512, 1024, 512, 256, 256, 256],
    "MODEL.PRIORS.FEATURE_MAPS": [38, 19, 10, 5, 3, 1],
    "MODEL.PRIORS.STRIDES": [8, 16, 32, 64, 100, 300],
    "MODEL.PRIORS.MIN_SIZES": [30, 60, 111, 162, 213, 264],
    "MODEL.PRIORS.MAX_SIZES": [60, 111, 162, 213, 264, 315],
    "MODEL.PRIORS.ASPECT_RATIOS": [[2], [2, 3], [2, 3], [2, 3], [2], [2]],
    "MODEL.PRIORS.BOXES_PER_LOCATION": [4, 6, 6, 6, 4, 4],
    "MODEL.PRIORS.CLIP": True,
    "MODEL.BOX_HEAD.PREDICTOR": "SSDBoxPredictor",
    "INPUT.IMAGE_SIZE": 300,
    "INPUT.PIXEL_MEAN": [123, 117, 104],
    "TEST.NMS_THRESHOLD": 0.45,
    "TEST.CONFIDENCE_THRESHOLD": 0.01,
    "TEST.MAX_PER_IMAGE": 100,
}


def differences(cfg: CfgNode) -> list[str]:
    """Return what to set in lufficc/SSD for a detector of this config, and what cannot be set; see Target."""
    if len(set(height_width(cfg.INPUT.IMAGE_SIZE))) > 1:
        return ["It takes square images only: it cannot run this network"]
    impossible = _values_that_it_lacks(cfg)
    values = {key: _plain(cfg, key) for key in _DEFAULTS if key not in impossible}
    settings = {key: value for key, value in values.items() if value != _DEFAULTS[key]}
    found = []
    if settings:
        text = " ".join(f'{key} "{value}"' for key, value in settings.items())
        found.append(f"Its config must say, in the file or on the command line: {text}")
    return [*found, *impossible.values(), *_keys_that_it_lacks(cfg)]


def _plain(cfg: CfgNode, key: str) -> Any:
    """The value of a key; lists without tuples, and squares by their side, as its code takes them."""
    *groups, name = key.split(".")
    value = cfg
    for group in groups:
        value = value[group]
    value = value[name]
    if name in ("FEATURE_MAPS", "STRIDES"):
        return [_side(entry) for entry in value]
    if name == "IMAGE_SIZE":
        return _side(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [list(entry) if isinstance(entry, Sequence) else entry for entry in value]
    return value


def _side(size: Any) -> int | tuple[int, int]:
    height, width = height_width(size)
    return height if height == width else (height, width)


def _values_that_it_lacks(cfg: CfgNode) -> dict[str, str]:
    """Keys that it has, but not with these values."""
    found: dict[str, str] = {}
    if cfg.MODEL.PRIORS.CLIP == "size":
        found["MODEL.PRIORS.CLIP"] = (
            "It clips priors wholly or not at all, and MODEL.PRIORS.CLIP is size: some large boxes move there"
        )
    if has_ratio_pairs(cfg):
        found["MODEL.PRIORS.ASPECT_RATIOS"] = (
            "It has each ratio of priors with its inverse, and MODEL.PRIORS.ASPECT_RATIOS has pairs"
        )
    return found


def _keys_that_it_lacks(cfg: CfgNode) -> list[str]:
    test, found = cfg.TEST, []
    if any(value != 1 for value in cfg.INPUT.PIXEL_STD):
        found.append(
            f"It does not divide pixels, and INPUT.PIXEL_STD is {list(cfg.INPUT.PIXEL_STD)}: divide by it in its "
            "transforms, after the mean is subtracted"
        )
    if cfg.MODEL.PRIORS.CENTERS == "map":
        found.append("It places priors by STRIDES, and MODEL.PRIORS.CENTERS is map: boxes move there")
    if test.PRE_NMS_TOP_K >= 0 or test.MAX_PER_CLASS >= 0:
        found.append("It has no limits per class: TEST.PRE_NMS_TOP_K and MAX_PER_CLASS are -1 there")
    if test.CLIP_BOXES:
        found.append("It does not clip boxes: do it afterwards, or see with TEST.CLIP_BOXES False what that changes")
    return found
