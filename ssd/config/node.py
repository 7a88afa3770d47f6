"""The configuration tree: a yacs CfgNode that reads only YAML, follows ``_BASE_`` and explains mistakes."""

import ast
import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from ssd.config.checks import CHECKS
from ssd.config.shipped import find_base, find_config, similar_configs
from ssd.config.yaml_text import MAX_INT, parse_yaml
from ssd.utils.errors import ConfigError
from ssd.utils.shorten import shorten

BASE_KEY = "_BASE_"

# Keys whose value may have a type other than that of the default.
_ALTERNATIVE_TYPES: dict[str, tuple[type, ...]] = {
    "INPUT.IMAGE_SIZE": (int, tuple),
    "MODEL.BACKBONE.PRETRAINED": (bool, str),
    "MODEL.PRIORS.CLIP": (bool, str),
}
# Keys of names of which one is "off".
_SWITCHES = {"DATA_LOADER.CACHE", "SOLVER.AMP", "TEST.AMP"}


class Config(CfgNode):
    """A yacs CfgNode with ``_BASE_`` inheritance and errors that name the key, the file and the remedy.

    Semantics are those of yacs: unknown keys are errors, a value must have the type of the default (lists and tuples
    are interchangeable), strings are literal-evaluated. A failed merge leaves the tree as it was.
    """

    def merge_from_file(self, cfg_filename: str | os.PathLike[str]) -> None:
        """Merge a YAML file, after the files that its ``_BASE_`` key names.

        Where there is no such file, it is the config of this name that comes with the library; so for ``_BASE_``.

        Raises:
            ConfigError: the file is missing or no YAML, ``_BASE_`` is circular, or a key or value does not fit.
        """
        for path in _inheritance_chain(Path(cfg_filename)):
            self._merge_checked(_read_yaml(path), source=f"{path}: ")

    def merge_from_text(self, text: str, source: str) -> None:
        """Merge the content of a YAML file, such as ``dump`` gives; ``_BASE_`` is no key of it.

        Args:
            text: the content.
            source: where it comes from, for messages.

        Raises:
            ConfigError: it is no YAML, or a key or value does not fit.
        """
        self._merge_checked(parse_yaml(text, source), source=f"{source}: ")

    @classmethod
    def load_cfg(cls, cfg_file_obj_or_str: Any) -> "Config":
        """Refuse what yacs offers here: it would execute a Python file."""
        raise ConfigError("Config.load_cfg is not offered; use merge_from_file with a .yaml file")

    def merge_from_list(self, cfg_list: Sequence[Any]) -> None:
        """Merge overrides ``[KEY, VALUE, KEY, VALUE, ...]``; keys are dotted, string values are literal-evaluated.

        Raises:
            ConfigError: the list has odd length, or a key or value does not fit.
        """
        if len(cfg_list) % 2:
            raise ConfigError(f"overrides come in pairs KEY VALUE, but {len(cfg_list)} were given: {list(cfg_list)}")
        for full_key, value in zip(cfg_list[0::2], cfg_list[1::2], strict=True):
            tree: Any = value
            for part in reversed(str(full_key).split(".")):
                tree = {part: tree}
            self._merge_checked(tree, source="command line: ")

    def with_overrides(self, overrides: Sequence[Any]) -> "Config":
        """Return a frozen copy with overrides, see ``merge_from_list``; this tree may be frozen and stays as it is.

        Raises:
            ConfigError: see ``merge_from_list``.
        """
        changed: Config = self.clone()
        changed.defrost()
        changed.merge_from_list(overrides)
        changed.freeze()
        return changed

    def _merge_checked(self, tree: dict[str, Any], source: str) -> None:
        """Merge a plain dictionary into this tree, or raise and change nothing."""
        if self.is_frozen():
            raise ConfigError(f"{source}the configuration is frozen; clone() and defrost() it to change it")
        _merge(tree, self.clone(), (), source)  # a rehearsal: raises before anything is changed
        _merge(tree, self, (), source)


def _merge(tree: dict[str, Any], node: Config, path: tuple[str, ...], source: str) -> None:
    for key, raw_value in tree.items():
        full_key = ".".join((*path, str(key)))
        if key not in node and not node.is_new_allowed():
            raise ConfigError(f"{source}unknown key {full_key}{_suggestion(full_key, node, path)}")
        old = node.get(key)
        if isinstance(old, Config):
            value = _decode(raw_value)
            if not isinstance(value, dict):
                raise ConfigError(
                    f"{source}{full_key} is a group of keys ({', '.join(old)}), not a value: {shorten(raw_value)}"
                )
            _merge(value, old, (*path, str(key)), source)
        elif key in node:
            node[key] = _coerce(_decode(raw_value), old, full_key, source)
        else:
            node[key] = _new_value(raw_value, full_key, source)


def _decode(value: Any) -> Any:
    """What the text of a string says as a Python literal, if it is one; as yacs does."""
    if not isinstance(value, str):
        return value
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # no literal, or too deep for one
        return value
    return literal if _is_plain(literal) else value


def _is_plain(value: Any) -> bool:
    """Whether a YAML file could hold ``value``, or it is a tuple."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, int):
        return abs(value) < MAX_INT
    return value is None or isinstance(value, (str, float))


def _new_value(raw_value: Any, full_key: str, source: str) -> Any:
    """A value for a key that has no default: plain YAML data, groups open to further keys."""
    value = _decode(raw_value)
    if not _is_plain(value):
        raise ConfigError(f"{source}{full_key} must be text, a number, a list or a group, got {shorten(value)}")
    if not isinstance(value, dict):
        return value
    group = Config(new_allowed=True)
    _merge(value, group, tuple(full_key.split(".")), source)
    return group


def _coerce(value: Any, default: Any, full_key: str, source: str) -> Any:
    """Return ``value`` in the type of ``default``; lists and tuples convert, nothing else does."""
    allowed = _ALTERNATIVE_TYPES.get(full_key, (type(default),))
    if value is False and full_key in _SWITCHES:
        value = "off"  # YAML 1.1 reads the bare word as a truth value
    if type(value) in allowed:
        return _checked(value, full_key, source)
    if isinstance(value, (list, tuple)):
        for kind in allowed:
            if kind in (list, tuple):
                return _checked(kind(value), full_key, source)
    expected = " or ".join(kind.__name__ for kind in allowed)
    hint = f"; write {float(value)}" if type(value) is int and float in allowed else ""
    if isinstance(default, (list, tuple)):
        hint = f"; write [{shorten(value)}]" if not isinstance(value, (dict, type(None))) else ""
    raise ConfigError(f"{source}{full_key} must be {expected} like {default!r}, got {shorten(value)}{hint}")


def _checked(value: Any, full_key: str, source: str) -> Any:
    is_valid, expectation = CHECKS.get(full_key, (lambda _: True, ""))
    if not is_valid(value):
        raise ConfigError(f"{source}{full_key} must be {expectation}, got {shorten(value)}")
    return value


def _suggestion(full_key: str, node: Config, path: tuple[str, ...]) -> str:
    """The nearest key of the same group, else of the defaults' whole tree, else the keys of the group."""
    siblings = {".".join((*path, name)) for name in node}
    for candidates in (siblings, set(_all_keys())):
        close = difflib.get_close_matches(full_key, candidates, n=1, cutoff=0.75)
        if close:
            return f"; did you mean {close[0]}?"
    last = full_key.rsplit(".", 1)[-1]
    namesakes = sorted(key for key in _all_keys() if key.rsplit(".", 1)[-1] == last)
    if namesakes:
        return f"; did you mean {namesakes[0]}?"
    return f"; keys there: {', '.join(sorted(siblings))}"


def _all_keys() -> Iterator[str]:
    from ssd.config.defaults import cfg

    yield from _walk(cfg, ())


def _walk(node: Config, path: tuple[str, ...]) -> Iterator[str]:
    for key, value in node.items():
        yield ".".join((*path, key))
        if isinstance(value, Config):
            yield from _walk(value, (*path, key))


def _inheritance_chain(path: Path) -> list[Path]:
    """The files to merge for ``path``, most basic first."""
    chain = [find_config(path)]
    while (base := _read_yaml(chain[0], keep_base=True).get(BASE_KEY)) is not None:
        if not isinstance(base, str):
            raise ConfigError(f"{chain[0]}: {BASE_KEY} must be the path of one YAML file, got {shorten(base)}")
        parent = find_base(base, chain[0].parent)
        if not os.path.isfile(parent):
            similar = similar_configs(parent)
            raise ConfigError(f"{chain[0]}: {BASE_KEY} names {parent}, which does not exist{similar}")
        if parent.resolve() in [seen.resolve() for seen in chain]:
            circle = " -> ".join(str(seen) for seen in [*reversed(chain), parent])
            raise ConfigError(f"{chain[0]}: {BASE_KEY} is circular: {circle}")
        chain.insert(0, parent)
    return chain


def _read_yaml(path: Path, keep_base: bool = False) -> dict[str, Any]:
    if not os.path.isfile(path):
        raise ConfigError(f"config file {str(path)!r} does not exist{similar_configs(path)}")
    if path.suffix not in {".yaml", ".yml"}:
        raise ConfigError(f"{path}: a config is a .yaml file (Python files are not executed)")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: the config cannot be read: {error.strerror}") from error
    tree = parse_yaml(text, str(path))
    if not keep_base:
        tree.pop(BASE_KEY, None)
    return tree


def with_num_classes(cfg: Config, class_names: Sequence[str]) -> Config:
    """Return a frozen config whose MODEL.NUM_CLASSES counts ``class_names`` (with background).

    Raises:
        ConfigError: it was set to something else.
    """
    if cfg.MODEL.NUM_CLASSES not in (0, len(class_names)):
        names = ", ".join(class_names[1:])
        raise ConfigError(
            f"MODEL.NUM_CLASSES is {cfg.MODEL.NUM_CLASSES}, but there are {len(class_names)} classes with background: "
            f"{names}. Set it to {len(class_names)}, or to 0 to follow the data"
        )
    return cfg.with_overrides(["MODEL.NUM_CLASSES", len(class_names)])
