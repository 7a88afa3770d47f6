"""Commands as functions of the package."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssd.commands.train import parse_args, train_config
from ssd.config import Config, load_config
from ssd.deploy.detector import Run
from ssd.engine.setup import start_process
from ssd.inference.notebook import table_html
from ssd.utils.model_zoo import ZooModel, zoo_models

_COLUMNS = ("name", "network", "size", "parameters", "gmac", "data", "figure", "licence")


def train(config: Config | str | os.PathLike[str], overrides: Sequence[Any] = (), **options: Any) -> Run:
    """Train a detector, and evaluate it; the same call continues what was interrupted.

    Args:
        config: YAML file, name of one of the library's configs, or Config.
        overrides: ``[KEY, VALUE, ...]`` of config keys.
        options: Flags of `ssd train`, such as ``log_step=50``, ``eval_step=500`` or ``skip_test=True``.
    """
    flags = (
        f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items() if value is not False
    )
    args = parse_args(["CONFIG", *flags])
    cfg = config if isinstance(config, Config) else load_config(config)
    cfg = cfg.with_overrides(overrides)
    origin = "of the program" if isinstance(config, Config) else os.fspath(config)
    status = train_config(
        cfg, start_process(cfg, origin, list(map(str, overrides)), log_dir=True, distributed=True), args
    )
    folder = Path(cfg.OUTPUT_DIR)
    files = ((name, folder / "inference" / name / "metrics.json") for name in cfg.DATASETS.TEST)
    stored = {name: json.loads(path.read_bytes())["values"] for name, path in files if path.is_file()}
    metrics = {
        name: {key: math.nan if value is None else value for key, value in values.items()}
        for name, values in stored.items()
    }
    return Run(folder, status=status, metrics=metrics)


class Models(list[ZooModel]):
    """Published detectors; a notebook shows a table."""

    def _repr_html_(self) -> str:
        return table_html(_COLUMNS, [[getattr(model, column) for column in _COLUMNS] for model in self])


def models(text: str = "") -> Models:
    """Return the published detectors whose rows contain ``text``; their names are taken wherever a checkpoint is."""
    return Models(model for model in zoo_models().values() if text.lower() in " ".join(model).lower())
