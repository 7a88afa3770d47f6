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
# Keys that it does not have, and the values for which it computes the same.
_MISSING: dict[str, Any] = {
    "MODEL.BOX_HEAD.SCORES": "softmax",
    "MODEL.PRIORS.SHAPES": [],
    "MODEL.PRIORS.OFFSETS": [],
    "MODEL.PRIORS.CENTERS": "stride",
    "INPUT.PIXEL_STD": [1, 1, 1],
    "TEST.PRE_NMS_TOP_K": -1,
    "TEST.MAX_PER_CLASS": -1,
    "TEST.CLIP_BOXES": False,
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
    values = {key: _plain(cfg, key) for key in (*_DEFAULTS, *_MISSING)} | _plain_levels(cfg, levels)
    missing = [key for key, value in _MISSING.items() if values[key] != value]
    missing += ["MODEL.PRIORS.CLIP"] if cfg.MODEL.PRIORS.CLIP == "size" else []
    has_pairs = any(isinstance(ratio, Sequence) for ratios in cfg.MODEL.PRIORS.ASPECT_RATIOS for ratio in ratios)
    missing += ["MODEL.PRIORS.ASPECT_RATIOS"] if has_pairs else []
    others = {key: values[key] for key, value in _DEFAULTS.items() if values[key] != value and key not in missing}
    settings = " ".join(f'{key} "{value}"' for key, value in others.items())
    told = [f"Its config must say, in the file or on the command line: {settings}"] if settings else []
    return [*told, *(f"{key} is {values[key]}, which {TITLE} does not have: detections differ" for key in missing)]


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


_MARKS = (
    r"backbone\.(l2_norm|features\.18\.0|features\.16\.0|_blocks\.25\._project_conv)\.weight$",
    r"box_head\.predictor\.cls_headers\.0\..*bias$",
)
FORMATS = (Format("lufficc", TITLE, _MARKS, _convert),)
