"""lufficc/SSD, ``{"model", "optimizer", ...}``: its names and layouts are ours. Its files carry no config."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

from yacs.config import CfgNode

from ssd.modeling.backbone.pretrained import StateDict
from ssd.modeling.detector.levels import Levels, nominal_strides
from ssd.structures.boxes import height_width
from ssd.utils.errors import CheckpointError
from ssd.weights.formats.format import Converted, Format
from ssd.weights.formats.layouts import count_classes

TITLE = "lufficc/SSD"

# A tensor that each network has and those below it lack, and its config.
_NETWORKS = {
    "backbone.extras.9.weight": "vgg_ssd512_voc0712",
    "backbone.l2_norm.weight": "vgg_ssd300_voc0712",
    "backbone.features.18.0.weight": "mobilenet_v2_ssd320_voc0712",
    "backbone.features.16.0.weight": "mobilenet_v3_ssd320_voc0712",
    "backbone._blocks.25._project_conv.weight": "efficient_net_b3_ssd300_voc0712",
}
_COCO_CONFIGS = {
    "vgg_ssd300_voc0712": "vgg_ssd300_coco_trainval35k",
    "vgg_ssd512_voc0712": "vgg_ssd512_coco_trainval35k",
}
# Its defaults of the keys that decide what given weights detect. It derives none from another.
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


def _convert(weights: StateDict, content: Mapping[str, Any]) -> Converted:
    config = find_config(weights)
    num_classes = count_classes(weights)
    if num_classes == 81:
        config = _COCO_CONFIGS.get(config, config)
    notes = () if num_classes in (21, 81) else (f"The priors are taken for those of {config}; see MODEL.PRIORS.",)
    return Converted(dict(weights), config, notes=notes)


def find_config(weights: StateDict) -> str:
    """Return the config of the network of these weights, for VOC where there are two; CheckpointError if none fits."""
    for name, config in _NETWORKS.items():
        if name in weights:
            return config
    raise CheckpointError(
        f"{TITLE} has VGG16, MobileNetV2, MobileNetV3 large and EfficientNet-B3; these weights are of another network"
    )


def differences(cfg: CfgNode, levels: Levels) -> list[str]:
    """Return sentences on the settings that lufficc/SSD must be given, or does not have."""
    if len(set(height_width(cfg.INPUT.IMAGE_SIZE))) > 1:
        return ["INPUT.IMAGE_SIZE must be square there: lufficc/SSD cannot run this network"]
    missing = _missing_settings(cfg)
    values = {key: _plain(cfg, key) for key in _DEFAULTS if key not in missing} | _plain_levels(cfg, levels)
    settings = " ".join(f'{key} "{value}"' for key, value in values.items() if value != _DEFAULTS[key])
    told = [f"Its config must say, in the file or on the command line: {settings}"] if settings else []
    return [*told, *missing.values()]


def _plain(cfg: CfgNode, key: str) -> Any:
    """Return the value of a key as lufficc/SSD writes it: lists without tuples, squares as one number."""
    value: Any = reduce(getitem, key.split("."), cfg)
    if key == "INPUT.IMAGE_SIZE":
        return _side(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [list(entry) if isinstance(entry, Sequence) else entry for entry in value]
    return value


def _plain_levels(cfg: CfgNode, levels: Levels) -> dict[str, Any]:
    strides = cfg.MODEL.PRIORS.STRIDES or [nominal_strides(levels.image_size, size) for size in levels.feature_maps]
    return {
        "MODEL.BACKBONE.OUT_CHANNELS": list(levels.channels),
        "MODEL.PRIORS.FEATURE_MAPS": [_side(size) for size in levels.feature_maps],
        "MODEL.PRIORS.STRIDES": [_side(stride) for stride in strides],
        "MODEL.PRIORS.BOXES_PER_LOCATION": levels.boxes_per_location,
    }


def _side(size: Any) -> int | tuple[int, int]:
    height, width = height_width(size)
    return height if height == width else (height, width)


def _missing_settings(cfg: CfgNode) -> dict[str, str]:
    """Return a sentence on each key whose value it does not have."""
    priors, test = cfg.MODEL.PRIORS, cfg.TEST
    has_pairs = any(isinstance(ratio, Sequence) for ratios in priors.ASPECT_RATIOS for ratio in ratios)
    has_std = any(value != 1 for value in cfg.INPUT.PIXEL_STD)
    settings = {
        "MODEL.BOX_HEAD.SCORES": (cfg.MODEL.BOX_HEAD.SCORES == "sigmoid", "has softmax scores: its scores are wrong"),
        "MODEL.PRIORS.CLIP": (priors.CLIP == "size", "clips whole priors or none: some large boxes move"),
        "MODEL.PRIORS.ASPECT_RATIOS": (has_pairs, "has each ratio with its inverse"),
        "MODEL.PRIORS.SHAPES": (bool(priors.SHAPES), "has MIN_SIZES, MAX_SIZES and ASPECT_RATIOS alone"),
        "MODEL.PRIORS.OFFSETS": (bool(priors.OFFSETS), "has centres in the middle of cells: boxes move"),
        "MODEL.PRIORS.CENTERS": (priors.CENTERS == "map", "places priors by STRIDES: boxes move"),
        "INPUT.PIXEL_STD": (has_std, "does not divide pixels: divide in its transforms, after the mean is subtracted"),
        "TEST.PRE_NMS_TOP_K": (test.PRE_NMS_TOP_K >= 0, "has no limits per class"),
        "TEST.MAX_PER_CLASS": (test.MAX_PER_CLASS >= 0, "has no limits per class"),
        "TEST.CLIP_BOXES": (test.CLIP_BOXES, "does not clip boxes: clip them afterwards, or compare with False"),
    }
    found = {key: text for key, (is_missing, text) in settings.items() if is_missing}
    return {key: f"{key} is {_plain(cfg, key)}, but lufficc/SSD {text}" for key, text in found.items()}


_MARKS = (
    r"backbone\.(l2_norm|features\.18\.0|features\.16\.0|_blocks\.25\._project_conv)\.weight$",
    r"box_head\.predictor\.cls_headers\.0\..*bias$",
)
FORMATS = (Format("lufficc", TITLE, _MARKS, _convert),)
