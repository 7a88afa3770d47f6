"""Sections on the dataset and the run."""

import shlex
import sys
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import numpy as np
import torch

from ssd.config import Config
from ssd.data.datasets import DetectionDataset
from ssd.evaluation import Analysis
from ssd.structures.boxes import height_width
from ssd.tools.report.elements import code, definitions, details, gallery, plot
from ssd.tools.report.page import Section
from ssd.utils.device import describe_code, describe_machine, describe_versions
from ssd.visualization.plots import plot_sizes
from ssd.weights.loaded_checkpoint import LoadedCheckpoint


@dataclass(frozen=True)
class RunFacts:
    """Names and values of the facts of a run, in order, and its resolved configuration as YAML."""

    facts: tuple[tuple[str, str], ...]
    config: str


def describe_run(cfg: Config, config_file: str, checkpoint: LoadedCheckpoint, device: torch.device) -> RunFacts:
    """Return the facts of an evaluation; ``config_file`` is the source of its configuration."""
    machine, commit = describe_machine(device), describe_code()
    height, width = height_width(cfg.INPUT.IMAGE_SIZE)
    facts = {
        "date": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        "command": shlex.join(sys.argv),
        "config": config_file,
        "checkpoint": checkpoint.source,
        "iterations of its training": "unknown" if checkpoint.iteration is None else str(checkpoint.iteration),
        "network": f"{cfg.MODEL.BACKBONE.NAME}, {width} × {height} pixels",
        "device": " ".join(str(value) for value in (machine["device"], machine["gpu"]) if value),
        "processor": f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads",
        "system": str(machine["system"]),
        "versions": ", ".join(f"{name} {version}" for name, version in describe_versions().items() if version),
        "commit": f"{commit['commit'] or 'unknown'}{' with changes' if commit['is_changed'] else ''}",
    }
    return RunFacts(tuple(facts.items()), cfg.dump())


def make_run_section(run: RunFacts) -> Section:
    """Return the section on the run."""
    content = definitions("facts", run.facts) + details("The resolved configuration", code(run.config))
    return Section("run", "Run", content)


def make_data_section(name: str, dataset: DetectionDataset, analysis: Analysis) -> Section:
    """Return the section on the images and objects, and on the sizes that are found."""
    objects, threshold = analysis.tables.objects, analysis.threshold
    counted = ~objects.is_ignored
    hits = analysis.matches.is_hit & (analysis.tables.detections.scores > threshold)
    is_found = np.zeros(len(counted), dtype=bool)
    is_found[analysis.matches.targets[hits]] = True
    sides = np.sqrt(objects.areas[counted])
    facts = [
        ("dataset", f"{name} ({type(dataset).__name__})"),
        ("images", f"{len(dataset):,}"),
        ("images without objects", f"{len(dataset) - len(np.unique(objects.images)):,}"),
        ("objects to find", f"{int(counted.sum()):,}"),
        ("objects that need not be found", f"{int(objects.is_ignored.sum()):,} (difficult, or crowds)"),
        ("classes", f"{analysis.tables.num_classes - 1}"),
    ]
    num_found = int(is_found[counted].sum())
    alt = f"Histogram by size: {num_found:,} objects found and {len(sides) - num_found:,} missed"
    caption = f"Objects by size, found and missed at score {threshold:.3g} and IoU 0.5."
    figure = plot(partial(plot_sizes, sides, is_found[counted]), alt, caption)
    return Section("data", "Data", gallery([definitions("facts", facts), figure]))
