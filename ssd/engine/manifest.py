"""OUTPUT_DIR/manifest.json: what each start of a training was made of, and what came of it."""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from ssd.config import Config
from ssd.data.datasets import DetectionDataset
from ssd.data.fingerprint import fingerprint
from ssd.utils.distributed import get_world_size, is_main, read_launch
from ssd.utils.errors import ConfigError
from ssd.utils.files import write_json
from ssd.utils.machine import describe_code, describe_machine, describe_versions

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_FORMAT = 1


def start_manifest(
    cfg: Config,
    arguments: Mapping[str, Any],
    train_sets: Sequence[DetectionDataset],
    test_sets: Sequence[DetectionDataset],
    model: nn.Module,
    *,
    device: torch.device,
    start_iteration: int,
) -> None:
    """Add this start to the manifest of OUTPUT_DIR, after those that it continues; of several processes rank 0 does.

    Args:
        cfg: the run's, before it is scaled to several processes.
        arguments: of the command line, by name.
        train_sets: those of DATASETS.TRAIN.
        test_sets: those of DATASETS.TEST, or none.
        model: with the weights that it starts from.
        device: the one that trains.
        start_iteration: completed iterations.
    """
    if not is_main():
        return
    path = Path(cfg.OUTPUT_DIR, MANIFEST)
    flags = {name: value for name, value in arguments.items() if name not in ("opts", "config_file", "local_rank")}
    start = {
        "date": _now(),
        "command": list(sys.argv),
        "arguments": flags,
        "start_iteration": start_iteration,
        "seed": cfg.SOLVER.SEED,
        "processes": get_world_size(),
        "processes_of_a_machine": read_launch().local_world_size,
        **describe_now(cfg, train_sets, test_sets, device),
        "initial_weights": digest_weights(model),
        "config": yaml.safe_load(cfg.dump()),
    }
    write_json(path, {"format": _FORMAT, "starts": [*_earlier_starts(path), start]}, indent=1)


def finish_manifest(output_dir: str | os.PathLike[str], model: nn.Module, test_names: Sequence[str]) -> None:
    """Add to the last start what came of it; of several processes rank 0 does.

    Args:
        output_dir: of the run.
        model: what a user gets: the trained model, or the average of its weights.
        test_names: of the datasets that the end was just evaluated on.
    """
    if not is_main():
        return
    path = Path(output_dir, MANIFEST)
    starts = _earlier_starts(path)
    if not starts:  # somebody has removed it
        return
    metrics = {name: _read_metrics(Path(output_dir, "inference", name, "metrics.json")) for name in test_names}
    starts[-1]["result"] = {"date": _now(), "weights": digest_weights(model), "metrics": metrics}
    write_json(path, {"format": _FORMAT, "starts": starts}, indent=1)


def describe_now(
    cfg: Config, train_sets: Sequence[DetectionDataset], test_sets: Sequence[DetectionDataset], device: torch.device
) -> dict[str, dict[str, Any]]:
    """Return versions, code, machine and datasets: what a second run can compare with the first."""
    sets = {"train": (cfg.DATASETS.TRAIN, train_sets), "test": (cfg.DATASETS.TEST, test_sets)}
    return {
        "versions": describe_versions(),
        "code": describe_code(),
        "machine": describe_machine(device),
        "datasets": {
            role: {name: fingerprint(dataset) for name, dataset in zip(names, datasets, strict=False)}
            for role, (names, datasets) in sets.items()
        },
    }


def read_manifest(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the starts that a manifest tells of, the oldest first; at least one.

    Raises:
        ConfigError: the file does not exist, or is no manifest.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"manifest {os.fspath(path)!r} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{os.fspath(path)}: no manifest, it is not JSON ({error})") from error
    starts = content.get("starts") if isinstance(content, dict) and content.get("format") == _FORMAT else None
    if not isinstance(starts, list) or not starts or not all(map(_is_start, starts)):
        raise ConfigError(f"{os.fspath(path)}: no manifest of a training of this version (format {_FORMAT})")
    return starts


def digest_weights(model: nn.Module) -> str:
    """Return a digest of the names, types, shapes and bits of a model's state, however that lies in memory."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _is_start(value: Any) -> bool:
    kinds = {"start_iteration": int, "processes": int, "processes_of_a_machine": int, "config": dict}
    kinds |= dict.fromkeys(("arguments", "versions", "code", "machine", "datasets"), dict)
    return isinstance(value, dict) and all(isinstance(value.get(name), kind) for name, kind in kinds.items())


def _earlier_starts(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        return read_manifest(path)
    except ConfigError as error:
        aside = path.with_suffix(".damaged.json")
        os.replace(path, aside)
        logger.warning("%s; it is kept as %s, and a new one begins", error, aside)
        return []


def _read_metrics(path: Path) -> dict[str, float | None]:
    return json.loads(path.read_text(encoding="utf-8"))["values"]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
