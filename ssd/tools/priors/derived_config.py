"""A config that derives from another one and changes its priors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from ssd.config.files import BASE_KEY, base_text
from ssd.tools.priors.fit import FittedPriors
from ssd.utils.errors import OutputError, os_errors_as
from ssd.utils.files import atomic_write


def derived_yaml(base: Path, target: Path, cfg: CfgNode, overrides: Sequence[str], fitted: FittedPriors) -> str:
    """Return the YAML of a config with fitted priors.

    Args:
        base: the config that was fitted.
        target: where the YAML will be, see ``base_text``.
        cfg: what ``base`` and ``overrides`` say.
        overrides: [KEY, VALUE, ...], become part of the YAML.
        fitted: the priors.
    """
    tree: dict[str, Any] = {}
    for key in overrides[::2]:
        _put(tree, key, _plain(_get(cfg, key)))
    for name, value in (
        ("MIN_SIZES", [_number(size) for size in fitted.min_sizes]),
        ("MAX_SIZES", [_number(size) for size in fitted.max_sizes]),
        ("ASPECT_RATIOS", _plain(fitted.aspect_ratios)),
    ):
        _put(tree, f"MODEL.PRIORS.{name}", value)
    if cfg.MODEL.PRIORS.BOXES_PER_LOCATION:
        _put(tree, "MODEL.PRIORS.BOXES_PER_LOCATION", [2 + 2 * len(ratios) for ratios in fitted.aspect_ratios])
    text = yaml.safe_dump({BASE_KEY: base_text(base, target)}, allow_unicode=True, width=2**20)
    text += yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    return f"# {base.name} with priors fitted to its training boxes by ssd priors --fit.\n{text}"


def write_config(target: Path, text: str) -> None:
    """Write a config in one step.

    Raises:
        OutputError: it cannot be written.
    """
    with os_errors_as(OutputError, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as file:
            file.write(text.encode())


def _get(cfg: CfgNode, key: str) -> Any:
    value: Any = cfg
    for part in key.split("."):
        value = value[part]
    return value


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *groups, last = key.split(".")
    for group in groups:
        tree = tree.setdefault(group, {})
    tree[last] = value


def _plain(value: Any) -> Any:
    """What YAML writes without tags: no tuples, no nodes."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else value
