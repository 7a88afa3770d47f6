"""Configuration: ``cfg`` holds the defaults; ``load_config`` makes the frozen configuration of a run, ``parse_config``
that of a checkpoint."""

import os
from collections.abc import Sequence
from typing import Any

from ssd.config.defaults import cfg
from ssd.config.node import Config

__all__ = ["Config", "cfg", "load_config", "parse_config"]


def load_config(config_file: str | os.PathLike[str] | None = None, overrides: Sequence[Any] = ()) -> Config:
    """Merge a YAML file and overrides over the defaults.

    Args:
        config_file: path of a YAML file, or None for the defaults alone.
        overrides: ``[KEY, VALUE, ...]``, as they come from the command line.

    Returns:
        A frozen configuration; ``cfg`` itself is not changed.

    Raises:
        ConfigError: see ``Config.merge_from_file`` and ``Config.merge_from_list``.
    """
    config = cfg.clone()
    if config_file is not None:
        config.merge_from_file(config_file)
    config.merge_from_list(overrides)
    config.freeze()
    return config


def parse_config(text: str, source: str) -> Config:
    """Merge the content of a YAML file, such as a checkpoint carries, over the defaults.

    Args:
        text: the content.
        source: where it comes from, for messages.

    Returns:
        A frozen configuration.

    Raises:
        ConfigError: see ``Config.merge_from_text``.
    """
    config = cfg.clone()
    config.merge_from_text(text, source)
    config.freeze()
    return config
