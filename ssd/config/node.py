"""Configuration tree: a yacs CfgNode that reads only YAML, follows ``_BASE_`` and explains mistakes."""

import ast
import difflib
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from yacs.config import CfgNode

from ssd.config.files import parse_yaml, read_chain, with_current_keys
from ssd.utils.errors import ConfigError, shorten

logger = logging.getLogger(__name__)

# Keys whose value may have a type other than that of the default.
_ALTERNATIVE_TYPES: dict[str, tuple[type, ...]] = {
    "INPUT.IMAGE_SIZE": (int, tuple),
    "MODEL.BACKBONE.PRETRAINED": (bool, str),
    "MODEL.PRIORS.CLIP": (bool, str),
}
# Keys whose text may be a path; ``~`` in it is the home folder. Those of datasets are expanded by their factories.
_PATH_KEYS = ("MODEL.WEIGHTS", "MODEL.BACKBONE.PRETRAINED", "OUTPUT_DIR")
_MAX_INT = 2**63  # whole numbers stay below, as in int64


def _is_positive(value: Any) -> bool:
    return (type(value) is float and 0 < value < math.inf) or (type(value) is int and 0 < value < _MAX_INT)


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
_NAMES: _Check = (
    _each(lambda name: isinstance(name, str)),
    "a list of names, in quotes where they are numbers, no, yes or null",
)
_INTS: _Check = (_each(lambda value: isinstance(value, int)), "a list of ints")
_FORMAT = _one_of("auto", "off", "bf16", "fp16")

# Group -> key -> (whether a value of the right type is valid, what is expected).
_CHECKS: dict[str, dict[str, _Check]] = {
    "MODEL": {
        "THRESHOLD": _FRACTION,
        "IGNORE_THRESHOLD": (lambda value: 0 < value <= 1, "above 0, at most 1"),
        "NUM_CLASSES": (lambda value: value == 0 or value > 1, "2 or more (background counts), or 0"),
        **dict.fromkeys(("NEG_POS_RATIO", "CENTER_VARIANCE", "SIZE_VARIANCE"), _POSITIVE),
        "WEIGHTS_CLASSES": _NAMES,
        "WEIGHTS_EXCLUDE": (_each(_is_regular_expression), "a list of regular expressions"),
    },
    "MODEL.BACKBONE": {"OUT_INDICES": _INTS, "FREEZE_STAGES": _NOT_NEGATIVE},
    "MODEL.NECK": {"NAME": _one_of("none", "fpn", "pan"), "CHANNELS": _POSITIVE},
    "MODEL.PRIORS": {
        **dict.fromkeys(
            ("FEATURE_MAPS", "STRIDES"), (_each(_is_size), "a list of positive ints or (height, width) pairs")
        ),
        **dict.fromkeys(("MIN_SIZES", "MAX_SIZES"), (_each(_is_positive), "a list of positive numbers")),
        "ASPECT_RATIOS": (_each(_each(_is_aspect_ratio)), "one list a level, like [[2], [2, 3]]"),
        "SHAPES": (_each(_is_shapes), "one list of (width, height) a level, like [[[30, 30], [42, 21]], [[60, 60]]]"),
        "OFFSETS": (_each(_is_offset), "numbers from 0 to 1, or (y, x) pairs of them"),
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
        "IMAGE_SIZE": (_is_size, "a positive int or a pair (height, width)"),
        "PIXEL_MEAN": (lambda value: len(value) == 3, "three numbers: red, green, blue"),
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
    "DATASETS": {"TRAIN": _NAMES, "TEST": _NAMES, "ON_ERROR": _one_of("raise", "skip")},
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
        "EMA": (lambda value: 0 <= value < 1, "0 or more, and less than 1"),
    },
    "CHECKPOINT": {"KEEP": _LIMIT},
    "TEST": {
        **dict.fromkeys(("NMS_THRESHOLD", "CONFIDENCE_THRESHOLD"), _FRACTION),
        **dict.fromkeys(("PRE_NMS_TOP_K", "MAX_PER_CLASS", "MAX_PER_IMAGE"), _LIMIT),
        "SOFT_NMS": _NOT_NEGATIVE,
        "BATCH_SIZE": _POSITIVE,
        "AMP": _FORMAT,
    },
    "": {"OUTPUT_DIR": (bool, "the name of a folder")},
}
CHECKS = {f"{group}.{key}".lstrip("."): check for group, keys in _CHECKS.items() for key, check in keys.items()}


class Config(CfgNode):
    """A yacs CfgNode with ``_BASE_`` inheritance and errors that name the key, the file and the remedy.

    Semantics are those of yacs: unknown keys are errors, a value must have the type of the default (lists and tuples
    are interchangeable), strings are literal-evaluated. A failed merge changes nothing.
    """

    def merge_from_file(self, cfg_filename: str | os.PathLike[str]) -> None:
        """Merge a YAML file, or the config of the library of this name, after what its ``_BASE_`` names."""
        for path, tree in read_chain(cfg_filename):
            self._merge_checked(tree, f"{path}: ")

    def merge_from_text(self, text: str, source: str) -> None:
        """Merge YAML text without ``_BASE_``, such as ``dump`` gives; ``source`` is its origin, for messages."""
        self._merge_checked(parse_yaml(text, source), f"{source}: ", warn=False)  # a stored config is not edited

    def merge_from_list(self, cfg_list: Sequence[Any]) -> None:
        """Merge overrides ``[KEY, VALUE, KEY, VALUE, ...]``; keys are dotted, string values are literal-evaluated."""
        if len(cfg_list) % 2:
            raise ConfigError(f"overrides come in pairs KEY VALUE, but {len(cfg_list)} were given: {list(cfg_list)}")
        for key, value in zip(cfg_list[0::2], cfg_list[1::2], strict=True):
            tree: Any = value
            for part in reversed(str(key).split(".")):
                tree = {part: tree}
            self._merge_checked(tree, "command line: ")

    def with_overrides(self, overrides: Sequence[Any]) -> "Config":
        """Return a frozen copy with overrides, see ``merge_from_list``; this tree is not changed."""
        changed: Config = self.clone()
        changed.defrost()
        changed.merge_from_list(overrides)
        changed.freeze()
        return changed

    def _merge_checked(self, tree: dict[str, Any], source: str, *, warn: bool = True) -> None:
        """Merge a plain dictionary into this tree, or raise and change nothing."""
        if self.is_frozen():
            raise ConfigError(f"{source}the configuration is frozen; clone() and defrost() it to change it")
        tree, notes = with_current_keys(tree, source)
        _merge(tree, self.clone(), (), source, self)  # raises before anything is changed
        _merge(tree, self, (), source, self)
        if notes and warn:
            logger.warning("%s%s", source, "; ".join(notes))


def dotted_keys(node: Config, prefix: str = "") -> Iterator[str]:
    """Yield the keys of a tree and of its groups, such as "SOLVER" and "SOLVER.LR"."""
    for key, value in node.items():
        yield prefix + key
        if isinstance(value, Config):
            yield from dotted_keys(value, f"{prefix}{key}.")


def _merge(tree: dict[str, Any], node: Config, path: tuple[str, ...], source: str, root: Config) -> None:
    for key, raw_value in tree.items():
        full_key = ".".join((*path, str(key)))
        if key not in node and not node.is_new_allowed():
            raise ConfigError(f"{source}unknown key {full_key}{_suggestion(full_key, node, root)}")
        old = node.get(key)
        if isinstance(old, Config):
            value = _decode(raw_value)
            if not isinstance(value, dict):
                keys = ", ".join(old)
                raise ConfigError(f"{source}{full_key} is a group of keys ({keys}), not a value: {shorten(raw_value)}")
            _merge(value, old, (*path, str(key)), source, root)
        elif key in node:
            node[key] = _coerce(_decode(raw_value), old, full_key, source)
        else:
            node[key] = _new_value(raw_value, full_key, source)


def _decode(value: Any) -> Any:
    """Evaluate a string that is a Python literal, as yacs does."""
    if not isinstance(value, str):
        return value
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # no literal, or nested too deeply
        return value
    return literal if _is_plain(literal) else value


def _is_plain(value: Any) -> bool:
    """Whether a YAML file could hold ``value``, or it is a tuple."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, (str, int, float))


def _new_value(raw_value: Any, full_key: str, source: str) -> Any:
    """Return a value for a key that has no default: plain YAML data; groups take further keys."""
    value = _decode(raw_value)
    if not _is_plain(value):
        raise ConfigError(f"{source}{full_key} must be text, a number, a list or a group, got {shorten(value)}")
    if not isinstance(value, dict):
        return value
    group = Config(new_allowed=True)
    _merge(value, group, tuple(full_key.split(".")), source, group)
    return group


def _coerce(value: Any, default: Any, full_key: str, source: str) -> Any:
    """Return ``value`` in the type of ``default``; lists and tuples convert, nothing else does."""
    allowed = _ALTERNATIVE_TYPES.get(full_key, (type(default),))
    if value is False and full_key.endswith(".AMP"):
        value = "off"  # YAML 1.1 reads the bare word as a truth value
    if isinstance(value, (list, tuple)) and type(value) not in allowed:
        value = next((kind(value) for kind in allowed if kind in (list, tuple)), value)
    if type(value) not in allowed:
        expected = " or ".join(kind.__name__ for kind in allowed)
        hint = f"; write {float(value)}" if type(value) is int and float in allowed else ""
        if isinstance(default, (list, tuple)) and not isinstance(value, (dict, type(None))):
            hint = f"; write [{shorten(value)}]"
        raise ConfigError(f"{source}{full_key} must be {expected} like {default!r}, got {shorten(value)}{hint}")
    if full_key in _PATH_KEYS and isinstance(value, str):
        value = os.path.expanduser(value)
    is_valid, expectation = CHECKS.get(full_key, (lambda _: True, ""))
    if not is_valid(value):
        raise ConfigError(f"{source}{full_key} must be {expectation}, got {shorten(value)}")
    return value


def _suggestion(full_key: str, node: Config, root: Config) -> str:
    """Return the end of a message: the nearest key of the same group, else of the tree, else the keys of the group."""
    prefix, _, last = full_key.rpartition(".")
    siblings = sorted(f"{prefix}.{name}".lstrip(".") for name in node)
    everywhere = list(dotted_keys(root))
    close = [*difflib.get_close_matches(full_key, siblings, 1, 0.75)]
    close += difflib.get_close_matches(full_key, everywhere, 1, 0.75)
    close += sorted(key for key in everywhere if key.rpartition(".")[2] == last)
    return f"; did you mean {close[0]}?" if close else f"; keys there: {', '.join(siblings)}"


def with_num_classes(cfg: Config, class_names: Sequence[str]) -> Config:
    """Return a frozen config whose MODEL.NUM_CLASSES, 0 before, counts ``class_names`` (with background)."""
    if cfg.MODEL.NUM_CLASSES not in (0, len(class_names)):
        names = ", ".join(class_names[1:])
        raise ConfigError(
            f"MODEL.NUM_CLASSES is {cfg.MODEL.NUM_CLASSES}, but there are {len(class_names)} classes with background: "
            f"{names}. Set it to {len(class_names)}, or to 0 to follow the data"
        )
    return cfg.with_overrides(["MODEL.NUM_CLASSES", len(class_names)])
