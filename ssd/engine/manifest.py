"""OUTPUT_DIR/manifest.json: versions, code, machine, datasets and config of each start, and the result."""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from ssd.config import Config
from ssd.data.datasets import ArrayDataset, DetectionDataset
from ssd.utils.device import describe_code, describe_machine, describe_versions
from ssd.utils.distributed import get_world_size, is_main, read_launch
from ssd.utils.files import write_json

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
    start_iteration: int,
) -> None:
    """Add this start to the manifest of OUTPUT_DIR, after those that it continues; of several processes rank 0 does."""
    if not is_main():
        return
    sets = {"train": (cfg.DATASETS.TRAIN, train_sets), "test": (cfg.DATASETS.TEST, test_sets)}
    start = {
        "date": _now(),
        "command": list(sys.argv),
        "arguments": {k: v for k, v in arguments.items() if k not in ("opts", "words", "config_file", "local_rank")},
        "start_iteration": start_iteration,
        "seed": cfg.SOLVER.SEED,
        "processes": get_world_size(),
        "processes_of_a_machine": read_launch().local_world_size,
        "versions": describe_versions(),
        "code": describe_code(),
        "machine": describe_machine(next(model.parameters()).device),
        "datasets": {
            role: {name: fingerprint(dataset) for name, dataset in zip(names, datasets, strict=False)}
            for role, (names, datasets) in sets.items()
        },
        "initial_weights": digest_weights(model),
        "config": yaml.safe_load(cfg.dump()),
    }
    path = Path(cfg.OUTPUT_DIR, MANIFEST)
    write_json(path, {"format": _FORMAT, "starts": [*_read_starts(path), start]}, indent=1)


def finish_manifest(output_dir: str | os.PathLike[str], model: nn.Module, test_names: Sequence[str]) -> None:
    """Add the result to the last start; of several processes rank 0 does."""
    path = Path(output_dir, MANIFEST)
    starts = _read_starts(path) if is_main() else []
    if starts:  # else the file was removed
        metrics = {name: _read_metrics(Path(output_dir, "inference", name, "metrics.json")) for name in test_names}
        starts[-1]["result"] = {"date": _now(), "weights": digest_weights(model), "metrics": metrics}
        write_json(path, {"format": _FORMAT, "starts": starts}, indent=1)


def digest_weights(model: nn.Module) -> str:
    """Return a digest of the names, types, shapes and bits of a model's state, for any memory layout."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fingerprint(dataset: DetectionDataset) -> dict[str, int | str]:
    """Return the number of images and objects, and a digest of class names, image ids, files, sizes and annotations.

    No image is read: of each file of the built-in formats, name and length count. The folder does not matter.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update("\n".join(dataset.class_names).encode(errors="surrogateescape"))
    num_objects = 0
    for row in range(len(dataset)):
        image_id, fields = dataset.get_annotation(row)
        info = dataset.get_img_info(row)
        line = f"\n{row} {image_id} {_describe_file(dataset, row)} {info['width']} {info['height']}"
        digest.update(line.encode(errors="surrogateescape"))
        for field in map(np.asarray, fields):
            digest.update(f" {field.dtype.str} {field.shape}".encode())
            digest.update(np.ascontiguousarray(field).tobytes())
        num_objects += len(fields[0])
    return {"num_images": len(dataset), "num_objects": num_objects, "digest": digest.hexdigest()}


def _describe_file(dataset: DetectionDataset, row: int) -> str:
    if not isinstance(dataset, ArrayDataset):
        return ""
    path = dataset.image_path(row)
    return f"{path.name} {path.stat().st_size}" if path.exists() else path.name


def _read_starts(path: Path) -> list[dict[str, Any]]:
    """Return the starts in a manifest, the oldest first; none if there is no file. A damaged file is kept aside."""
    if not path.exists():
        return []
    try:
        starts = json.loads(path.read_text(encoding="utf-8"))["starts"]
        if isinstance(starts, list) and all(isinstance(start, dict) for start in starts):
            return starts
        reason = "its starts are no objects"
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        reason = str(error)
    aside = path.with_suffix(".damaged.json")
    os.replace(path, aside)
    logger.warning("%s is not a manifest (%s); it is kept as %s, and a new one begins", path, reason, aside)
    return []


def _read_metrics(path: Path) -> dict[str, float | None]:
    return json.loads(path.read_text(encoding="utf-8"))["values"]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
