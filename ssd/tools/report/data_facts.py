"""Sections on the dataset and the run."""

from functools import partial

import numpy as np

from ssd.data.datasets import DetectionDataset
from ssd.evaluation import Analysis
from ssd.evaluation.analysis import AREAS
from ssd.tools.report.elements import Column, code, details, fact_list, gallery, plot, table
from ssd.tools.report.page import Section
from ssd.tools.report.run_facts import RunFacts
from ssd.visualization.plots import plot_sizes


def make_data_section(name: str, dataset: DetectionDataset, analysis: Analysis) -> Section:
    """Return what the dataset holds, and which sizes are found."""
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
        ("sizes of images", _describe_sizes(dataset)),
        ("objects to find", f"{int(counted.sum()):,}"),
        ("objects that need not be found", f"{int(objects.is_ignored.sum()):,} (difficult, or crowds)"),
        ("classes", f"{analysis.tables.num_classes - 1}"),
    ]
    num_found = int(is_found[counted].sum())
    alt = f"Histogram by size: {num_found:,} objects found and {len(sides) - num_found:,} missed"
    caption = f"Objects by size, found and missed at score {threshold:.3g} and IoU 0.5."
    figure = plot(partial(plot_sizes, sides, is_found[counted]), alt, caption)
    return Section("data", "Data", gallery([fact_list(facts), figure]) + _class_table(analysis, is_found))


def make_run_section(run: RunFacts) -> Section:
    """Return what was run."""
    config = details("The resolved configuration", code(run.config))
    return Section("run", "Run", fact_list(run.facts) + config)


def _class_table(analysis: Analysis, is_found: np.ndarray) -> str:
    objects, num_classes = analysis.tables.objects, analysis.tables.num_classes
    counted = ~objects.is_ignored
    columns = [
        Column("class"),
        Column("objects", ",d", "objects to find"),
        Column("found", ".1%"),
        Column("images", ",d", "images that show one"),
        *(Column(name, ",d", f"{name} objects, by COCO's limits of 32² and 96² pixels") for name in AREAS),
        Column("median side", ".0f", "of the square of equal area, in pixels"),
        Column("ignored", ",d", "difficult, or crowds"),
    ]
    rows = []
    for label in range(1, num_classes):
        own = counted & (objects.labels == label)
        areas, count = objects.areas[own], int(own.sum())
        # Limits belong to the smaller group here, so that each object counts once.
        groups = np.bincount(np.searchsorted([AREAS["small"][1], AREAS["medium"][1]], areas), minlength=3)
        found = float(is_found[own].mean()) if count else None
        side = float(np.median(np.sqrt(areas))) if count else None
        ignored = int((objects.is_ignored & (objects.labels == label)).sum())
        images = len(np.unique(objects.images[own]))
        rows.append((analysis.tables.class_names[label], count, found, images, *groups.tolist(), side, ignored))
    return table("Objects by class", columns, rows)


def _describe_sizes(dataset: DetectionDataset) -> str:
    """The commonest size of the images, and the extremes."""
    infos = [dataset.get_img_info(index) for index in range(len(dataset))]
    sizes, counts = np.unique([(info["width"], info["height"]) for info in infos], axis=0, return_counts=True)
    width, height = sizes[counts.argmax()].tolist()
    common = f"{width} × {height}"
    if len(sizes) == 1:
        return f"all {common}"
    (low_width, low_height), (high_width, high_height) = sizes.min(axis=0).tolist(), sizes.max(axis=0).tolist()
    share = counts.max() / counts.sum()
    return f"widths {low_width} to {high_width}, heights {low_height} to {high_height}; {share:.0%} are {common}"
