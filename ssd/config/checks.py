"""Valid values of the keys of the configuration, and what is expected, for messages."""

import math
import re
from collections.abc import Callable
from typing import Any

MAX_INT = 2**63  # whole numbers stay below, as in int64


def _is_positive(value: Any) -> bool:
    return (type(value) is float and 0 < value < math.inf) or (type(value) is int and 0 < value < MAX_INT)


def _is_size(value: Any) -> bool:
    sides = value if isinstance(value, (list, tuple)) and len(value) == 2 else [value]
    return all(isinstance(side, int) and side > 0 for side in sides)


def _is_range(value: Any) -> bool:
    return len(value) == 2 and all(map(_is_positive, value)) and bool(value[0] <= value[1])


def _is_aspect_ratio(value: Any) -> bool:
    pair = value if isinstance(value, (list, tuple)) else [value, 1]
    return len(pair) == 2 and all(map(_is_positive, pair))


def _is_shapes(value: Any) -> bool:
    shapes = value if isinstance(value, (list, tuple)) else []
    return bool(shapes) and all(isinstance(shape, (list, tuple)) and _is_aspect_ratio(shape) for shape in shapes)


def _is_offset(value: Any) -> bool:
    pair = value if isinstance(value, (list, tuple)) else [value, value]
    return len(pair) == 2 and all(type(number) in (int, float) and 0 <= number <= 1 for number in pair)


def _is_regular_expression(value: Any) -> bool:
    try:
        re.compile(value)
    except (re.error, TypeError):
        return False
    return True


def _each(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda values: isinstance(values, (list, tuple)) and all(map(check, values))


def _one_of(*choices: Any) -> "_Check":
    return (lambda value: value in choices), " or ".join(map(str, choices))


_Check = tuple[Callable[[Any], bool], str]
_POSITIVE: _Check = (_is_positive, "positive")
_NOT_NEGATIVE: _Check = (lambda value: value == 0 or _is_positive(value), "0 or more")
_FRACTION: _Check = (lambda value: 0 <= value <= 1, "between 0 and 1")
_LIMIT: _Check = (lambda value: value == -1 or value > 0, "positive, or -1 for no limit")
NAMES: _Check = (
    _each(lambda name: isinstance(name, str)),
    "a list of names, in quotes where they are numbers, no, yes or null",
)
_INTS: _Check = (_each(lambda value: isinstance(value, int)), "a list of ints")
_FORMAT = _one_of("auto", "off", "bf16", "fp16")
_COMPILE = _one_of(False, True, "reduce-overhead")

# Group -> key -> (whether a value of the right type is valid, what is expected).
_CHECKS: dict[str, dict[str, _Check]] = {
    "MODEL": {
        "THRESHOLD": _FRACTION,
        "IGNORE_THRESHOLD": (lambda value: 0 < value <= 1, "above 0, at most 1"),
        "NUM_CLASSES": (lambda value: value == 0 or value > 1, "2 or more (background counts), or 0"),
        **dict.fromkeys(("NEG_POS_RATIO", "CENTER_VARIANCE", "SIZE_VARIANCE"), _POSITIVE),
        "WEIGHTS_CLASSES": NAMES,
        "WEIGHTS_EXCLUDE": (_each(_is_regular_expression), "a list of regular expressions"),
    },
    "MODEL.BACKBONE": {"OUT_INDICES": _INTS, "WIDTH": _POSITIVE, "FREEZE_STAGES": _NOT_NEGATIVE},
    "MODEL.NECK": {"NAME": _one_of("none", "fpn", "pan"), "CHANNELS": _POSITIVE},
    "MODEL.PRIORS": {
        **dict.fromkeys(("FEATURE_MAPS", "STRIDES"), (_each(_is_size), "positive ints or [height, width] pairs")),
        **dict.fromkeys(("MIN_SIZES", "MAX_SIZES"), (_each(_is_positive), "a list of positive numbers")),
        "ASPECT_RATIOS": (_each(_each(_is_aspect_ratio)), "one list per level, like [[2], [2, 3]]"),
        "SHAPES": (_each(_is_shapes), "one list of [width, height] per level, like [[[30, 30], [42, 21]], [[60, 60]]]"),
        "OFFSETS": (_each(_is_offset), "numbers from 0 to 1, or [y, x] pairs of them"),
        "CENTERS": _one_of("stride", "map"),
        "CLIP": _one_of(True, False, "size"),
    },
    "MODEL.BOX_HEAD": {
        "SCORES": _one_of("softmax", "sigmoid"),
        "CLS_LOSS": _one_of("mined", "focal"),
        "QUALITY": _one_of("none", "iou", "relative"),
        **dict.fromkeys(("L1_WEIGHT", "GIOU_WEIGHT"), _NOT_NEGATIVE),
    },
    "INPUT": {
        "IMAGE_SIZE": (_is_size, "a positive int or a pair [height, width]"),
        "PIXEL_MEAN": (lambda value: len(value) == 3 and {*map(type, value)} <= {int, float}, "three numbers: RGB"),
        "PIXEL_STD": (
            lambda value: len(value) == 3 and all(map(_is_positive, value)),
            "three positive numbers: red, green, blue; [1, 1, 1] leaves pixels unchanged",
        ),
    },
    "INPUT.AUGMENTATION": {
        **dict.fromkeys(("SCALE", "ASPECT"), (_is_range, "a pair (least, largest) of positive numbers")),
        "SHIFT": (lambda value: 0 <= value <= 0.5, "between 0 and 0.5"),
        "CLOSE": _FRACTION,
    },
    "DATASETS": {"TRAIN": NAMES, "TEST": NAMES, "ON_ERROR": _one_of("raise", "skip")},
    "DATA_LOADER": {"NUM_WORKERS": _NOT_NEGATIVE, "REPEAT_THRESHOLD": _FRACTION},
    "SOLVER": {
        **dict.fromkeys(("MAX_ITER", "GAMMA", "BATCH_SIZE", "LR"), _POSITIVE),
        **dict.fromkeys(("BIAS_LR_FACTOR", "BACKBONE_LR_FACTOR", "NEW_LAYERS_LR_FACTOR"), _POSITIVE),
        "FLAT": (lambda value: 0 <= value < 1, "0 or more, and less than 1"),
        "END_FACTOR": _FRACTION,
        **dict.fromkeys(("WEIGHT_DECAY", "WARMUP_FACTOR", "WARMUP_ITERS", "SEED", "GRAD_CLIP"), _NOT_NEGATIVE),
        "MAX_NONFINITE_STEPS": _NOT_NEGATIVE,
        "MICRO_BATCHES": _POSITIVE,
        "LR_STEPS": _INTS,
        "BATCH_SIZE_SCOPE": _one_of("process", "global"),
        "MOMENTUM": _FRACTION,
        "AMP": _FORMAT,
        "COMPILE": _COMPILE,
        "EMA": (lambda value: 0 <= value < 1, "0 or more, and less than 1"),
    },
    "CHECKPOINT": {"KEEP": _LIMIT},
    "TEST": {
        **dict.fromkeys(("NMS_THRESHOLD", "CONFIDENCE_THRESHOLD"), _FRACTION),
        **dict.fromkeys(("PRE_NMS_TOP_K", "MAX_PER_CLASS", "MAX_PER_IMAGE"), _LIMIT),
        "SOFT_NMS": _NOT_NEGATIVE,
        "BATCH_SIZE": _POSITIVE,
        "AMP": _FORMAT,
        "COMPILE": _COMPILE,
    },
    "": {"OUTPUT_DIR": (bool, "the name of a folder")},
}
CHECKS = {f"{group}.{key}".lstrip("."): check for group, keys in _CHECKS.items() for key, check in keys.items()}
