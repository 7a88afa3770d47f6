"""Configuration: ``cfg`` holds the defaults, ``load_config`` returns the frozen configuration of a run."""

import os
from collections.abc import Sequence
from typing import Any

from ssd.config.defaults import cfg
from ssd.config.node import Config

__all__ = ["Config", "cfg", "load_config", "parse_config"]


def load_config(config_file: str | os.PathLike[str] | None = None, overrides: Sequence[Any] = ()) -> Config:
    """Merge a YAML file, if given, and overrides ``[KEY, VALUE, ...]`` over a copy of the defaults, and freeze it.

    Raises:
        ConfigError: See ``Config.merge_from_file`` and ``Config.merge_from_list``.
    """
    config = cfg.clone()
    if config_file is not None:
        config.merge_from_file(config_file)
    return config.with_overrides(overrides)


def parse_config(text: str, source: str) -> Config:
    """Merge YAML text, such as a checkpoint carries, over a copy of the defaults, and freeze it.

    Args:
        source: Origin of the text, for messages.

    Raises:
        ConfigError: See ``Config.merge_from_text``.
    """
    config = cfg.clone()
    config.merge_from_text(text, source)
    config.freeze()
    return config
