"""What values the keys may have, beyond their type."""

import math
import re
from collections.abc import Callable
from typing import Any

from ssd.config.yaml_text import MAX_INT


def is_positive(value: Any) -> bool:
    """Whether ``value`` is a number above 0 that other libraries can take."""
    if isinstance(value, float):
        return 0 < value < math.inf
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < MAX_INT


def is_not_negative(value: Any) -> bool:
    """Whether ``value`` is 0, or as ``is_positive``."""
    return value == 0 or is_positive(value)


def is_size(value: Any) -> bool:
    """Whether ``value`` is a positive int or a pair of them."""
    sides = value if isinstance(value, (list, tuple)) and len(value) == 2 else [value]
    return all(isinstance(side, int) and side > 0 for side in sides)


def all_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether all elements of a list pass ``check``."""
    return lambda values: all(check(value) for value in values)


def _is_aspect_ratio(value: Any) -> bool:
    pair = value if isinstance(value, (list, tuple)) else [value, value]
    return len(pair) == 2 and all_of(is_positive)(pair)


def _are_aspect_ratios(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all_of(_is_aspect_ratio)(value)


def _is_regular_expression(value: Any) -> bool:
    try:
        re.compile(value)
    except (re.error, TypeError, OverflowError, RecursionError):  # a{99999999999}, thousands of brackets
        return False
    return True


_POSITIVE = (is_positive, "positive")
_NOT_NEGATIVE = (is_not_negative, "0 or more")
_FRACTION = (lambda value: 0 <= value <= 1, "between 0 and 1")
_LIMIT = (lambda value: value == -1 or value > 0, "positive, or -1 for no limit")
_SIZES = (all_of(is_size), "a list of positive ints or (height, width) pairs")
_NAMES = (all_of(lambda name: isinstance(name, str)), "a list of names")
_FORMAT = (lambda value: value in ("auto", "off", "bf16", "fp16"), "auto, off, bf16 or fp16")
_NUMBERS = (all_of(is_positive), "a list of positive numbers")

# key -> (whether a value of the right type will do, what is expected)
CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "MODEL.THRESHOLD": _FRACTION,
    "MODEL.NUM_CLASSES": (lambda value: value == 0 or value > 1, "2 or more (background counts), or 0"),
    "MODEL.NEG_POS_RATIO": _POSITIVE,
    "MODEL.CENTER_VARIANCE": _POSITIVE,
    "MODEL.SIZE_VARIANCE": _POSITIVE,
    "MODEL.WEIGHTS_CLASSES": _NAMES,
    "MODEL.WEIGHTS_EXCEPT": (all_of(_is_regular_expression), "a list of regular expressions"),
    "MODEL.BACKBONE.OUT_INDICES": (all_of(lambda index: isinstance(index, int)), "a list of ints"),
    "MODEL.BACKBONE.FREEZE_STAGES": _NOT_NEGATIVE,
    "MODEL.PRIORS.FEATURE_MAPS": _SIZES,
    "MODEL.PRIORS.STRIDES": _SIZES,
    "MODEL.PRIORS.MIN_SIZES": _NUMBERS,
    "MODEL.PRIORS.MAX_SIZES": _NUMBERS,
    "MODEL.PRIORS.ASPECT_RATIOS": (all_of(_are_aspect_ratios), "one list a level, like [[2], [2, 3]]"),
    "MODEL.PRIORS.CENTERS": (lambda value: value in ("stride", "map"), "stride or map"),
    "MODEL.PRIORS.CLIP": (lambda value: value in (True, False, "size"), "True, False or size"),
    "INPUT.IMAGE_SIZE": (is_size, "a positive int or a pair (height, width)"),
    "INPUT.PIXEL_MEAN": (lambda value: len(value) == 3, "three numbers: red, green, blue"),
    "INPUT.PIXEL_STD": (
        lambda value: len(value) == 3 and all_of(is_positive)(value),
        "three positive numbers: red, green, blue; [1, 1, 1] leaves pixels as they are",
    ),
    "DATASETS.TRAIN": _NAMES,
    "DATASETS.TEST": _NAMES,
    "DATASETS.ON_ERROR": (lambda value: value in ("raise", "skip"), "raise or skip"),
    "DATA_LOADER.NUM_WORKERS": _NOT_NEGATIVE,
    "DATA_LOADER.CACHE": (lambda value: value in ("off", "memory", "disk"), "off, memory or disk"),
    "DATA_LOADER.CACHE_GB": _POSITIVE,
    "SOLVER.MAX_ITER": _POSITIVE,
    "SOLVER.LR_STEPS": (all_of(lambda step: isinstance(step, int)), "a list of ints"),
    "SOLVER.GAMMA": _POSITIVE,
    "SOLVER.BATCH_SIZE": _POSITIVE,
    "SOLVER.BATCH_SIZE_OF": (lambda value: value in ("process", "all"), "process or all"),
    "SOLVER.LR": _POSITIVE,
    "SOLVER.MOMENTUM": _FRACTION,
    "SOLVER.WEIGHT_DECAY": _NOT_NEGATIVE,
    "SOLVER.BIAS_LR_FACTOR": _POSITIVE,
    "SOLVER.BACKBONE_LR_FACTOR": _POSITIVE,
    "SOLVER.WARMUP_FACTOR": _NOT_NEGATIVE,
    "SOLVER.WARMUP_ITERS": _NOT_NEGATIVE,
    "SOLVER.SEED": _NOT_NEGATIVE,
    "SOLVER.AMP": _FORMAT,
    "SOLVER.ACCUMULATE": _POSITIVE,
    "SOLVER.GRAD_CLIP": _NOT_NEGATIVE,
    "SOLVER.EMA": (lambda value: 0 <= value < 1, "0 or more, and less than 1"),
    "SOLVER.MAX_NONFINITE_STEPS": _NOT_NEGATIVE,
    "CHECKPOINT.KEEP": _LIMIT,
    "TEST.NMS_THRESHOLD": _FRACTION,
    "TEST.CONFIDENCE_THRESHOLD": _FRACTION,
    "TEST.PRE_NMS_TOP_K": _LIMIT,
    "TEST.MAX_PER_CLASS": _LIMIT,
    "TEST.MAX_PER_IMAGE": _LIMIT,
    "TEST.BATCH_SIZE": _POSITIVE,
    "TEST.AMP": _FORMAT,
    "OUTPUT_DIR": (bool, "the name of a folder"),
}
