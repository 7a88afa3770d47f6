"""Configuration tree: a yacs CfgNode that reads only YAML, follows ``_BASE_`` and explains mistakes."""

import ast
import difflib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from yacs.config import CfgNode

from ssd.config.checks import CHECKS, MAX_INT, NAMES
from ssd.config.files import parse_yaml, read_chain, with_current_keys
from ssd.utils.errors import ConfigError, shorten

logger = logging.getLogger(__name__)

# Keys whose value may have a type other than that of the default.
_ALTERNATIVE_TYPES: dict[str, tuple[type, ...]] = {
    "INPUT.IMAGE_SIZE": (int, tuple),
    "MODEL.BACKBONE.PRETRAINED": (bool, str),
    "MODEL.PRIORS.CLIP": (bool, str),
    "SOLVER.COMPILE": (bool, str),
    "TEST.COMPILE": (bool, str),
}
# Keys whose text may be a path; ``~`` in it is the home folder. Those of datasets are expanded by their factories.
_PATH_KEYS = ("MODEL.WEIGHTS", "MODEL.BACKBONE.PRETRAINED", "OUTPUT_DIR")


class Config(CfgNode):
    """A yacs CfgNode with ``_BASE_`` inheritance and errors that name the key, the file and the remedy.

    Semantics are those of yacs: unknown keys are errors, a value must have the type of the default (lists and tuples
    are interchangeable), strings are literal-evaluated; also, an int serves as a float, and text as a list of names. A
    failed merge changes nothing.
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
    """Return ``value`` in the type of ``default``: lists and tuples convert, ints to floats, and text to names."""
    allowed = _ALTERNATIVE_TYPES.get(full_key, (type(default),))
    check = CHECKS.get(full_key, (lambda _: True, ""))
    if value is False and full_key.endswith(".AMP"):
        value = "off"  # YAML 1.1 reads the bare word as a truth value
    if type(value) is int and float in allowed and abs(value) < MAX_INT:
        value = float(value)
    if isinstance(value, str) and check is NAMES:  # "a", or "[a, b]" from a command line
        value = [name for part in value.split(",") if (name := part.strip(" '\"()[]"))]
    if isinstance(value, (list, tuple)) and type(value) not in allowed:
        value = next((kind(value) for kind in allowed if kind in (list, tuple)), value)
    if full_key in _PATH_KEYS and isinstance(value, str):
        value = os.path.expanduser(value)
    is_valid, expectation = check
    if type(value) in allowed and is_valid(value):
        return value
    if type(value) not in allowed:
        kinds = " or ".join(kind.__name__ for kind in allowed)
        expectation = f"{kinds} like {default!r}" + (f" ({expectation})" if expectation else "")
    raise ConfigError(f"{source}{full_key} must be {expectation}, got {shorten(value)}")


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
