"""Sections on how good the detector is: figures, curves, thresholds, calibration."""

import json
import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from ssd.evaluation import Analysis, EvaluationResult
from ssd.evaluation.analysis import Curve
from ssd.evaluation.analysis.classes import MAX_BARS, MAX_LINES, describe_choice, pick_classes
from ssd.evaluation.analysis.curves import sample_f1, sample_precision
from ssd.tools.report.elements import (
    Cell,
    Column,
    code,
    details,
    gallery,
    number,
    paragraph,
    plot,
    table,
    tiles,
)
from ssd.tools.report.page import Section
from ssd.visualization.plots import ALL_CLASSES, plot_class_bars, plot_lines, plot_reliability

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
_GRID = np.linspace(0, 1, 101)
_THRESHOLDS = np.linspace(0, 1, 201)


def make_tiles(result: EvaluationResult, analysis: Analysis) -> str:
    """Return the figures that one looks at first."""
    best = analysis.overall_best
    objects = int(analysis.tables.count_objects().sum())
    return tiles(
        [
            (result.main_name, number(result.main, ".3f")),
            ("AP at IoU 0.5", number(mean(analysis.ap), ".3f")),
            ("AP at IoU 0.75", number(mean(analysis.ap75), ".3f")),
            ("best F1" if math.isnan(best.f1) else f"F1 at score {best.threshold:.3g}", number(best.f1, ".3f")),
            ("images", f"{analysis.tables.num_images:,}"),
            ("objects to find", f"{objects:,}"),
        ]
    )


def make_metrics_section(result: EvaluationResult, analysis: Analysis) -> Section:
    """Return the figures of the evaluation, all classes in a table, the best and the worst in a plot."""
    figures = [(result.main_name, result.main, _METRICS[result.metric])]
    figures += [(name, result.values[name], text) for name, text in _FIGURES.items() if result.metric == "coco"]
    if result.metric != "coco":
        figures.append(("AP75", mean(analysis.ap75), "the same at IoU 0.75"))
        for name, ap in analysis.ap_of_area.items():
            figures.append((f"AP50, {name}", mean(ap), f"{name} objects, by COCO's limits of 32² and 96² pixels"))
    columns = [Column("figure"), Column("value", ".4f"), Column("what it is")]
    chosen = pick_classes(class_ap(result, analysis), MAX_BARS)
    bars = _named(analysis, chosen, class_ap(result, analysis).tolist())
    choice = describe_choice(chosen, analysis.tables.num_classes - 1, MAX_BARS)
    alt = "Bars, AP by class: " + ", ".join(f"{name} {value:.2f}" for name, value in bars.items())
    parts = [table("Figures of the evaluation", columns, figures)]
    if bars:
        parts.append(plot(partial(plot_class_bars, bars, "AP"), alt, f"AP by class.{choice}"))
    return Section("metrics", "Metrics", gallery(parts) + _class_table(result, analysis))


def make_curves_section(result: EvaluationResult, analysis: Analysis) -> Section:
    """Return precision against recall, and F1 against the threshold."""
    has_curve = [len(curve.scores) > 0 for curve in analysis.curves]
    chosen = pick_classes(np.where(has_curve, class_ap(result, analysis), np.nan), MAX_LINES)
    has_overall = len(analysis.overall_curve.scores) and not np.isnan(analysis.overall_curve.recall).any()
    names = {analysis.tables.class_names[label]: analysis.curves[label] for label in chosen}
    if has_overall and len(names) > 1:
        names[ALL_CLASSES] = analysis.overall_curve
    precision = {name: _precision_line(curve) for name, curve in names.items()}
    f1 = {name: (_THRESHOLDS, sample_f1(curve, _THRESHOLDS)) for name, curve in names.items()}
    choice = describe_choice(chosen, analysis.tables.num_classes - 1, MAX_LINES, "objects and detections")
    classes = ", ".join(names) or "no class"
    best = analysis.overall_best
    marked = None if math.isnan(best.threshold) else best.threshold
    draw_precision = partial(plot_lines, precision, ("recall", "precision"))
    draw_f1 = partial(plot_lines, f1, ("score threshold", "F1"), marked_x=marked)
    content = gallery(
        [
            plot(
                draw_precision,
                f"Curves of precision against recall: {classes}",
                "Precision that is reached at a recall or any higher one, at IoU 0.5: AP is the area below." + choice,
            ),
            plot(
                draw_f1,
                f"Curves of F1 against the score threshold: {classes}; the best is {number(best.f1, '.3f')} "
                f"at {number(best.threshold, '.3g')}",
                "F1, the harmonic mean of precision and recall, of what scores above a threshold. The upright line is "
                f"the best threshold for all classes together.{choice}",
            ),
        ]
    )
    return Section("curves", "Curves", content)


def make_thresholds_section(analysis: Analysis) -> Section:
    """Return the best thresholds, for copying."""
    best = analysis.overall_best
    if math.isnan(best.threshold):
        text = "No threshold can be best: nothing was detected, or there is no object to find."
        return Section("thresholds", "Thresholds", paragraph(text))
    names = analysis.tables.class_names
    of_class = {
        name: operation.threshold
        for name, operation in zip(names[1:], analysis.best[1:], strict=True)
        if not math.isnan(operation.threshold)
    }
    content = paragraph(
        f"One threshold for all classes: {best.threshold:.3g} gives precision {best.precision:.3f}, recall "
        f"{best.recall:.3f} and F1 {best.f1:.3f}. A click selects a line. The first is for demo and predict, the other "
        "for a config with which to detect (not to evaluate: AP wants the low scores too)."
    )
    content += code(f"--score_threshold {best.threshold:.8g}") + code(
        f"TEST: {{CONFIDENCE_THRESHOLD: {best.threshold:.8g}}}"
    )
    per_class = code(json.dumps({name: float(f"{value:.8g}") for name, value in of_class.items()}, ensure_ascii=False))
    content += details("The best threshold of each class, as JSON", per_class)
    content += paragraph("They were chosen on this dataset, so that on it they look a little better than elsewhere.")
    return Section("thresholds", "Thresholds", content)


def make_calibration_section(analysis: Analysis) -> Section:
    """Return whether scores are what they promise."""
    calibration = analysis.calibration
    error = number(calibration.error, ".3f")
    text = (
        "Of a calibrated detector, 8 in 10 detections that score 0.8 are right. The expected calibration error (ECE) "
        f"is the mean distance from that (Guo et al., ICML 2017): {error} over {int(calibration.counts.sum()):,} "
        "detections. Above the dashed line the detector is too modest, below it too sure. Low scores, of which there "
        "are most, weigh most."
    )
    draw = partial(plot_reliability, calibration.confidence, calibration.precision, calibration.counts)
    bins = zip(calibration.confidence, calibration.precision, strict=True)
    points = ", ".join(f"{share:.2f} right at score {score:.2f}" for score, share in bins if not math.isnan(score))
    figure = plot(draw, f"Share of right detections by score: {points or 'no detection'}", f"ECE {error}.")
    columns = [Column("class"), Column("detections", ",d"), Column("ECE", ".3f"), Column("mean score", ".3f"),
               Column("share right", ".3f")]  # fmt: skip
    rows: list[Sequence[Cell]] = []
    for name, own in zip(analysis.tables.class_names[1:], analysis.class_calibration[1:], strict=True):
        count = int(own.counts.sum())
        sums = (float(np.nansum(own.counts * values)) for values in (own.confidence, own.precision))
        rows.append((name, count, own.error, *(total / count if count else math.nan for total in sums)))
    content = paragraph(text) + gallery([figure, table("Calibration by class", columns, rows)])
    return Section("calibration", "Calibration", content)


def class_ap(result: EvaluationResult, analysis: Analysis) -> np.ndarray:
    """Return the AP (C,) of the evaluation by label, nan for the background."""
    prefix = "AP/" if result.metric == "coco" else ""
    return np.array([np.nan, *(result.values[prefix + name] for name in analysis.tables.class_names[1:])])


def mean(values: np.ndarray) -> float:
    """Return the mean of what is not nan; nan if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _class_table(result: EvaluationResult, analysis: Analysis) -> str:
    threshold = number(analysis.overall_best.threshold, ".3g")
    shown = f"of what scores above {threshold}, the best threshold for all classes"
    columns = [
        Column("class"),
        Column("objects", ",d", "objects to find"),
        Column("detections", ",d"),
        Column("AP", ".3f", _METRICS[result.metric].removeprefix("mean over the classes ")),
        Column("AP75", ".3f", "at IoU 0.75"),
        *(Column(f"AP50 {name}", ".3f", f"{name} objects, at IoU 0.5") for name in analysis.ap_of_area),
        *(Column(name, ".3f", shown) for name in ("precision", "recall", "F1")),
        Column("best threshold", ".3g", "that of the class's own highest F1"),
        Column("best F1", ".3f"),
    ]
    if result.metric == "coco":
        columns.insert(4, Column("AP50", ".3f", "at IoU 0.5"))
    ap, num_classes = class_ap(result, analysis), analysis.tables.num_classes
    objects = analysis.tables.count_objects()
    detections = np.bincount(analysis.tables.detections.labels, minlength=num_classes)
    rows: list[Sequence[Cell]] = []
    for label in range(1, num_classes):
        own, best = analysis.at_overall_best[label], analysis.best[label]
        values = [float(ap[label])] + ([float(analysis.ap[label])] if result.metric == "coco" else [])
        values += [float(analysis.ap75[label]), *(float(of[label]) for of in analysis.ap_of_area.values())]
        values += [own.precision, own.recall, own.f1] if objects[label] else [math.nan] * 3
        values += [best.threshold, best.f1]
        rows.append((analysis.tables.class_names[label], int(objects[label]), int(detections[label]), *values))
    return table("All classes; precision, recall and F1 at score " + threshold, columns, rows)


def _named(analysis: Analysis, labels: list[int], values: list[float]) -> dict[str, float]:
    return {analysis.tables.class_names[label]: values[label] for label in labels}


def _precision_line(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    reached = _GRID[curve.recall[-1] >= _GRID]
    return reached, sample_precision(curve, reached)
