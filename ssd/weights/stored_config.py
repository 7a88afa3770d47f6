"""Comparison of the config in a checkpoint with that of the run that continues it."""

import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ssd.config import Config
from ssd.config import cfg as defaults
from ssd.config.old_keys import with_current_keys
from ssd.utils.errors import CheckpointError

_ABSENT = object()
_REPR = reprlib.Repr()
_REPR.maxlevel = 2  # the depth of groups; YAML aliases can make a short text enormous


def read_stored_config(checkpoint: Mapping[str, Any], source: str) -> dict[str, Any] | None:
    """Return the config of a checkpoint as a plain tree, unchecked; None if it has none, as those of lufficc/SSD.

    Raises:
        CheckpointError: It is no YAML mapping.
    """
    text = checkpoint.get("config")
    if text is None:
        return None
    try:
        tree = yaml.safe_load(text) if isinstance(text, str) else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{source}: its config is no YAML: {error}") from error
    if not isinstance(tree, dict):
        raise CheckpointError(f"{source}: its config is no mapping of keys to values")
    return with_current_keys(tree, f"{source}: ")[0]


def config_changes(stored: dict[str, Any], cfg: Config) -> list[str]:
    """List the keys whose values differ, as "KEY: old -> new", in the order of the config.

    Args:
        stored: Tree of ``read_stored_config``. A missing key has its default.
        cfg: Config of the run.
    """
    before, now = _overlaid(_plain(defaults), stored), _plain(cfg)
    return [f"{key}: {_shown(old)} -> {_shown(new)}" for key, old, new in _differences(before, now, "")]


def _plain(cfg: Config) -> dict[str, Any]:
    """Return a config as its YAML file is read: with lists for tuples."""
    return yaml.safe_load(cfg.dump())


def _overlaid(base: Any, tree: Any) -> Any:
    """Return ``tree`` with the keys of ``base`` that it lacks."""
    if not (isinstance(base, dict) and isinstance(tree, dict)):
        return tree
    return {**tree, **{key: _overlaid(value, tree.get(key, value)) for key, value in base.items()}}


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield key, old and new value. It descends only where both are groups, so that aliases cannot explode."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield path, old, new
        return
    for key in (*new, *(key for key in old if key not in new)):
        yield from _differences(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{path}.{key}" if path else str(key))


def _shown(value: Any) -> str:
    return "(none)" if value is _ABSENT else _REPR.repr(value)
