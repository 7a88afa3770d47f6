"""Sections on the quality of the detections: figures, curves, thresholds."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from ssd.evaluation import Analysis, EvaluationResult
from ssd.tools.report.elements import Cell, Column, code, definitions, gallery, number, paragraph, plot, table
from ssd.tools.report.page import Section
from ssd.visualization.palette import class_color
from ssd.visualization.plots import ALL_CLASSES, MAX_BARS, MAX_LINES, pick_classes, plot_class_bars, plot_lines

_METRICS = {
    "voc07": "mean over the classes of the 11-point AP of VOC 2007, at IoU 0.5",
    "voc": "mean over the classes of the every-point AP of VOC 2010 and later, at IoU 0.5",
    "coco": "mean over the classes and over the IoUs 0.5, 0.55 ... 0.95 of COCO's 101-point AP",
}
_FIGURES = {
    "AP50": "at IoU 0.5",
    "AP75": "at IoU 0.75",
    "APs": "objects below 32² pixels",
    "APm": "objects from 32² to 96² pixels",
    "APl": "objects above 96² pixels",
    "AR1": "recall with one detection an image",
    "AR10": "recall with 10 detections an image",
    "AR100": "recall with 100 detections an image",
    "ARs": "recall of small objects",
    "ARm": "recall of medium objects",
    "ARl": "recall of large objects",
}
_RECALLS = np.linspace(0, 1, 101)
_THRESHOLDS = np.linspace(0, 1, 201)


def make_tiles(result: EvaluationResult, analysis: Analysis) -> str:
    """Return the main figures."""
    best = analysis.overall_best
    rows = [
        (result.main_name, number(result.main, ".3f")),
        *([("AP50", number(mean(analysis.ap), ".3f"))] if result.metric == "coco" else []),
        ("AP75", number(mean(analysis.ap75), ".3f")),
        ("best F1" if math.isnan(best.f1) else f"F1 at score {best.threshold:.3g}", number(best.f1, ".3f")),
        ("images", f"{analysis.tables.num_images:,}"),
        ("objects to find", f"{int(analysis.tables.count_objects().sum()):,}"),
    ]
    return definitions("tiles", rows)


def make_metrics_section(result: EvaluationResult, analysis: Analysis) -> Section:
    """Return the figures of the evaluation, all classes in a table, the best and the worst in a plot."""
    figures = [(result.main_name, result.main, _METRICS[result.metric])]
    if result.metric == "coco":
        figures += [(name, result.values[name], text) for name, text in _FIGURES.items()]
    else:
        figures.append(("AP75", mean(analysis.ap75), "the same at IoU 0.75"))
        for name, ap in analysis.ap_of_area.items():
            figures.append((f"AP50, {name}", mean(ap), f"{name} objects, by COCO's limits of 32² and 96² pixels"))
    ap, names = _class_ap(result, analysis), analysis.tables.class_names
    chosen = sorted(pick_classes(ap, MAX_BARS))
    bars = {names[label]: float(ap[label]) for label in chosen}
    parts = [table("Figures of the evaluation", [Column("figure"), Column("value", ".4f"), Column("meaning")], figures)]
    if bars:
        alt = "Bars, AP by class: " + ", ".join(f"{name} {value:.2f}" for name, value in bars.items())
        caption = f"AP by class.{_describe_choice(chosen, len(names) - 1, MAX_BARS, 'objects')}"
        parts.append(plot(partial(plot_class_bars, bars, "AP"), alt, caption))
    return Section("metrics", "Metrics", gallery(parts) + _class_table(result, analysis))


def make_curves_section(result: EvaluationResult, analysis: Analysis) -> Section:
    """Return precision over recall, and F1 over the threshold."""
    has_curve = [len(curve.scores) > 0 for curve in analysis.curves]
    chosen = sorted(pick_classes(np.where(has_curve, _class_ap(result, analysis), np.nan), MAX_LINES))
    curves = {analysis.tables.class_names[label]: analysis.curves[label] for label in chosen}
    if len(curves) > 1:
        curves[ALL_CLASSES] = analysis.overall_curve
    colors = {analysis.tables.class_names[label]: class_color(label) for label in chosen}
    precision, f1 = {}, {}
    for name, curve in curves.items():
        reached = _RECALLS[curve.recall[-1] >= _RECALLS]
        precision[name] = (reached, curve.sample_precision(reached))
        f1[name] = (_THRESHOLDS, curve.sample_f1(_THRESHOLDS))
    choice = _describe_choice(chosen, analysis.tables.num_classes - 1, MAX_LINES, "objects and detections")
    classes = ", ".join(curves) or "no class"
    best = analysis.overall_best
    marked = None if math.isnan(best.threshold) else best.threshold
    figures = [
        plot(
            partial(plot_lines, precision, ("recall", "precision"), colors=colors),
            f"Curves of precision over recall: {classes}",
            f"Best precision at a recall or any higher one, at IoU 0.5: AP is the area below.{choice}",
        ),
        plot(
            partial(plot_lines, f1, ("score threshold", "F1"), colors=colors, marked_x=marked),
            f"Curves of F1 over the score threshold: {classes}; the best is {number(best.f1, '.3f')} "
            f"at {number(best.threshold, '.3g')}",
            "F1, the harmonic mean of precision and recall, of the detections that score above a threshold. The "
            f"vertical line is the best threshold for all classes together.{choice}",
        ),
    ]
    return Section("curves", "Curves", gallery(figures))


def make_thresholds_section(analysis: Analysis) -> Section:
    """Return the best thresholds, to copy."""
    best = analysis.overall_best
    if math.isnan(best.threshold):
        text = "There is no best threshold: nothing was detected, or there is no object to find."
        return Section("thresholds", "Thresholds", paragraph(text))
    content = paragraph(
        f"One threshold for all classes: {best.threshold:.3g} gives precision {best.precision:.3f}, recall "
        f"{best.recall:.3f} and F1 {best.f1:.3f}. A click selects the option of predict. The table of all classes has "
        "the best threshold of each."
    )
    content += code(f"--threshold {best.threshold:.8g}")
    content += paragraph("They were chosen on this dataset; on other images they give slightly worse results.")
    return Section("thresholds", "Thresholds", content)


def mean(values: np.ndarray) -> float:
    """Return the mean without nan; nan if there is no other value."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _class_ap(result: EvaluationResult, analysis: Analysis) -> np.ndarray:
    """AP (C,) of the evaluation by label, nan for the background."""
    prefix = "AP/" if result.metric == "coco" else ""
    return np.array([np.nan, *(result.values[prefix + name] for name in analysis.tables.class_names[1:])])


def _class_table(result: EvaluationResult, analysis: Analysis) -> str:
    threshold = number(analysis.overall_best.threshold, ".3g")
    shown = f"of detections that score above {threshold}, the best threshold for all classes"
    is_coco = result.metric == "coco"  # whose AP is not that at IoU 0.5
    columns = [
        Column("class"),
        Column("objects", ",d", "objects to find"),
        Column("detections", ",d"),
        Column("AP", ".3f", _METRICS[result.metric].removeprefix("mean over the classes ")),
        *([Column("AP50", ".3f", "at IoU 0.5")] if is_coco else []),
        Column("AP75", ".3f", "at IoU 0.75"),
        *(Column(f"AP50 {name}", ".3f", f"{name} objects, at IoU 0.5") for name in analysis.ap_of_area),
        *(Column(name, ".3f", shown) for name in ("precision", "recall", "F1")),
        Column("best threshold", ".3g", "threshold of the highest F1 of the class"),
        Column("best F1", ".3f"),
    ]
    aps = [_class_ap(result, analysis), *([analysis.ap] if is_coco else []), analysis.ap75]
    aps += analysis.ap_of_area.values()
    objects = analysis.tables.count_objects().tolist()
    detections = np.bincount(analysis.tables.detections.labels, minlength=len(objects)).tolist()
    rows: list[Sequence[Cell]] = []
    for label, name in enumerate(analysis.tables.class_names[1:], start=1):
        own, best = analysis.at_overall_best[label], analysis.best[label]
        at_threshold = own[1:] if objects[label] else [math.nan] * 3
        values = [*(float(ap[label]) for ap in aps), *at_threshold, best.threshold, best.f1]
        rows.append((name, objects[label], detections[label], *values))
    return table("All classes; precision, recall and F1 at score " + threshold, columns, rows)


def _describe_choice(chosen: Sequence[int], num_classes: int, count: int, others: str) -> str:
    """End of a caption: the ``chosen`` labels of ``pick_classes``; the other classes are without ``others``."""
    if len(chosen) == num_classes:
        return ""
    if len(chosen) < count:
        return f" {len(chosen)} of {num_classes} classes: those with {others}."
    return f" {count} of {num_classes} classes: the {count // 2} best and the {count - count // 2} worst by AP."
