"""Configuration: ``cfg`` holds the defaults, ``load_config`` returns the frozen configuration of a run."""

import os
from collections.abc import Sequence
from typing import Any

from ssd.config.defaults import cfg
from ssd.config.node import Config

__all__ = ["Config", "cfg", "load_config", "parse_config"]


def load_config(config_file: str | os.PathLike[str] | None = None, overrides: Sequence[Any] = ()) -> Config:
    """Merge a YAML file, if given, and overrides ``[KEY, VALUE, ...]`` over a copy of the defaults, and freeze it."""
    config = cfg.clone()
    if config_file is not None:
        config.merge_from_file(config_file)
    return config.with_overrides(overrides)


def parse_config(text: str, source: str) -> Config:
    """Merge YAML text from ``source``, such as a checkpoint, over a copy of the defaults, and freeze it."""
    config = cfg.clone()
    config.merge_from_text(text, source)
    config.freeze()
    return config
