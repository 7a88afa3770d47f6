"""Sections on what the detector does wrong: kinds of errors, confusion, images."""

from functools import partial

import numpy as np

from ssd.engine.inference import DatasetEvaluation
from ssd.evaluation import Analysis
from ssd.evaluation.analysis import KINDS
from ssd.evaluation.analysis.classes import MAX_CONFUSED, pick_confused
from ssd.evaluation.analysis.images import ImageErrors
from ssd.tools.report.elements import Column, gallery, number, paragraph, photo, plot, table
from ssd.tools.report.marked_image import mark_errors
from ssd.tools.report.metrics import mean
from ssd.tools.report.page import Section
from ssd.visualization.plots import plot_confusion, plot_costs

NUM_IMAGES = 12
_MAX_LISTED = 10  # errors of an image
_MAX_CONFUSIONS = 200  # rows of their table
_MEANINGS = {
    "class": "on an object of another class, IoU 0.5 or more",
    "localisation": "on an object of its class, but only with IoU 0.1 to 0.5",
    "both": "on an object of another class, and badly placed",
    "duplicate": "on an object that a better detection has found",
    "background": "where no object is, IoU below 0.1",
    "missed": "objects that nothing finds, and that no class or localisation error means",
}


def make_errors_section(analysis: Analysis) -> Section:
    """Return kinds of errors, and the AP that each costs."""
    errors = analysis.errors
    of_kind = [mean(cost) for cost in errors.costs]
    extremes = {
        "all false positives": mean(errors.false_positive_costs),
        "all false negatives": mean(errors.false_negative_costs),
    }
    costs = dict(zip(KINDS, of_kind, strict=True)) | extremes
    counts = [*(int((errors.kinds == kind).sum()) for kind in range(len(KINDS) - 1)), int(errors.is_missed.sum())]
    content = paragraph(
        f"AP at IoU 0.5 is {number(mean(errors.base_ap), '.3f')}. Each cost is what this AP would gain if the errors "
        "of one kind alone were mended, whatever their score; costs do not add up. Kinds and mending are those of TIDE "
        "(Bolya et al., ECCV 2020, Sec. 2.2 and 2.3)."
    )
    alt = "Bars, lost AP by kind of error: " + ", ".join(f"{name} {100 * cost:.1f}" for name, cost in costs.items())
    figure = plot(partial(plot_costs, costs), alt, "AP that is lost to each kind of error, in hundredths.")
    columns = [Column("kind"), Column("number", ",d"), Column("lost AP × 100", ".2f"), Column("what it is")]
    rows = [
        (kind, count, 100 * cost, _MEANINGS[kind]) for kind, count, cost in zip(KINDS, counts, of_kind, strict=True)
    ]
    content += gallery([figure, table("Errors by kind", columns, rows)])
    columns = [
        Column("class"),
        Column("AP50", ".3f"),
        *(Column(name, ".2f", f"lost AP × 100: {name}") for name in costs),
    ]
    of_class = np.vstack([errors.costs, errors.false_positive_costs, errors.false_negative_costs])
    class_rows = [
        (name, float(errors.base_ap[label]), *(100 * of_class[:, label]).tolist())
        for label, name in enumerate(analysis.tables.class_names[1:], start=1)
    ]
    content += table("Lost AP × 100 by class", columns, class_rows)
    return Section("errors", "Errors", content)


def make_confusion_section(analysis: Analysis) -> Section:
    """Return which class is taken for which, at the best threshold."""
    matrix, names = analysis.confusion, analysis.tables.class_names
    chosen = pick_confused(matrix, MAX_CONFUSED)
    order = [*chosen, 0]
    rows = [*(names[label] for label in chosen), "nothing there"]
    columns = [*(names[label] for label in chosen), "missed"]
    choice = ""
    if len(chosen) < len(names) - 1:
        choice = f" {len(chosen)} of {len(names) - 1} classes: those confused most with others."
    caption = (
        "Each row is a class of objects, each column what they are detected as; shades are shares of the row. The last "
        f"column counts missed objects, the last row false alarms.{choice}"
    )
    found = int(np.trace(matrix[1:, 1:]))
    counts = (
        f"{found:,} objects found, {int(matrix[1:, 0].sum()):,} missed, "
        f"{int(matrix[1:, 1:].sum()) - found:,} taken for another class, {int(matrix[0].sum()):,} false alarms"
    )
    content = paragraph(f"At score {analysis.threshold:.3g} and IoU 0.5: {counts}. The table lists what went wrong.")
    draw = partial(plot_confusion, matrix[np.ix_(order, order)], rows, columns)
    content += plot(draw, f"Confusion matrix: {counts}", caption)
    cells = np.argwhere(matrix * (1 - np.eye(len(names), dtype=np.int64)))
    cells = cells[np.argsort(-matrix[tuple(cells.T)], kind="stable")]
    totals = analysis.tables.count_objects()
    listed = [
        (
            names[row] if row else "(nothing there)",
            names[column] if column else "(missed)",
            int(matrix[row, column]),
            float(matrix[row, column] / totals[row]) if row else None,
        )
        for row, column in cells[:_MAX_CONFUSIONS].tolist()
    ]
    title = "Confusions, most frequent first"
    title += f": {_MAX_CONFUSIONS} of {len(cells):,}" if len(cells) > _MAX_CONFUSIONS else ""
    heads = [Column("is"), Column("detected as"), Column("number", ",d"), Column("share of the objects", ".1%")]
    return Section("confusion", "Confusion", content + table(title, heads, listed))


def make_images_section(evaluation: DatasetEvaluation, analysis: Analysis) -> Section:
    """Return the images with most errors."""
    worst = analysis.worst_images(NUM_IMAGES)
    content = paragraph(
        f"The images with most errors, missed objects and false alarms together, at score {analysis.threshold:.3g} and "
        "IoU 0.5; of equal numbers the one whose false alarms score highest comes first."
        if worst
        else "No image has an error."
    )
    if worst:
        content += paragraph(
            "Thin black and white box: found. Thick red box, F: false alarm. Dashed yellow box, M: missed object. "
            "Objects that need not be found (difficult, crowd) are not drawn."
        )
        content += gallery([_image(evaluation, analysis, one) for one in worst])
    return Section("images", "Worst images", content)


def _image(evaluation: DatasetEvaluation, analysis: Analysis, errors: ImageErrors) -> str:
    tables, names = analysis.tables, analysis.tables.class_names
    found, objects = tables.detections, tables.objects
    false_alarms = errors.false_alarms[np.argsort(-found.scores[errors.false_alarms], kind="stable")]
    jpeg, size = mark_errors(
        evaluation.dataset[errors.image][0],
        found.boxes[errors.hits],
        found.boxes[false_alarms],
        objects.boxes[errors.missed],
    )
    items = [
        f"F{place} {names[found.labels[row]]} {found.scores[row]:.2f}: {_kind(analysis, row)}"
        for place, row in enumerate(false_alarms.tolist(), start=1)
    ]
    items += [f"M{place} {names[objects.labels[row]]}: missed" for place, row in enumerate(errors.missed.tolist(), 1)]
    if len(items) > _MAX_LISTED:
        items = [*items[:_MAX_LISTED], f"and {len(items) - _MAX_LISTED} more"]
    image_id = evaluation.dataset.get_annotation(errors.image)[0]
    alarms = f"{len(false_alarms)} false alarm{'' if len(false_alarms) == 1 else 's'}"
    counts = f"{len(errors.missed)} missed, {alarms}, {len(errors.hits)} found"
    return photo(jpeg, size, f"Image {image_id} with {counts}", f"{image_id}: {counts}", items)


def _kind(analysis: Analysis, row: int) -> str:
    """What is wrong with a detection."""
    kind = KINDS[analysis.errors.kinds[row]]
    target = int(analysis.errors.targets[row])
    name = analysis.tables.class_names[analysis.tables.objects.labels[target]] if target >= 0 else ""
    return f"is {name}" if kind == "class" else kind
