"""What was evaluated: detector, versions, machine."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import torch

from ssd.config import Config
from ssd.utils.machine import describe_code, describe_machine, describe_versions


@dataclass(frozen=True)
class RunFacts:
    """What a report tells of its run.

    Attributes:
        facts: names and values, in order.
        config: the resolved configuration as YAML.
    """

    facts: tuple[tuple[str, str], ...]
    config: str


def describe_run(cfg: Config, config_file: str, checkpoint: Mapping[str, Any], device: torch.device) -> RunFacts:
    """Return the facts of this process's evaluation.

    Args:
        cfg: the configuration.
        config_file: where it comes from.
        checkpoint: of ``read_trained``.
        device: the one that detects.
    """
    machine, code = describe_machine(device), describe_code()
    versions = {name: version for name, version in describe_versions().items() if version is not None}
    changed = " with changes" if code["is_changed"] else ""
    facts = {
        "date": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        "command": shlex.join(sys.argv),
        "config": config_file,
        "checkpoint": checkpoint["source"],
        "iterations of its training": str(checkpoint.get("iteration", "not known")),
        "network": f"{cfg.MODEL.BACKBONE.NAME}, {_describe_size(cfg.INPUT.IMAGE_SIZE)} pixels",
        "device": " ".join(str(value) for value in (machine["device"], machine["gpu"]) if value),
        "processor": f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads",
        "system": str(machine["system"]),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "commit": "not known" if code["commit"] is None else f"{code['commit']}{changed}",
    }
    return RunFacts(tuple(facts.items()), cfg.dump())


def _describe_size(size: int | tuple[int, int]) -> str:
    height, width = (size, size) if isinstance(size, int) else size
    return f"{width} × {height}"
