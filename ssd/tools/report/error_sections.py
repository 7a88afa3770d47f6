"""Sections on the errors: kinds, confusion, and the images with most errors."""

import io
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from ssd.engine.inference import DatasetEvaluation
from ssd.evaluation import Analysis
from ssd.evaluation.error_kinds import KINDS
from ssd.evaluation.matching import ImageErrors, pick_confused
from ssd.evaluation.tables import DetectionTable
from ssd.tools.report.elements import Column, gallery, number, paragraph, photo, plot, table
from ssd.tools.report.metric_sections import mean
from ssd.tools.report.page import Section
from ssd.visualization.drawing import Pen
from ssd.visualization.palette import GREEN, VERMILLION, YELLOW
from ssd.visualization.plots import MAX_CONFUSED, plot_confusion, plot_costs

_NUM_IMAGES = 6  # good, and as many bad
_MAX_LISTED = 10  # errors of an image
_MAX_CONFUSIONS = 200  # rows of their table
_MEANINGS = {
    "class": "on an object of another class, IoU 0.5 or more",
    "localisation": "on an object of its class, but only with IoU 0.1 to 0.5",
    "both": "on an object of another class, and badly placed",
    "duplicate": "on an object that a better detection has found",
    "background": "where no object is, IoU below 0.1",
    "missed": "objects that are not found, and not the target of a class or localisation error",
}
_SIDE = 720  # pixels: sharp in a column of the page and on a phone, and some 60 kB
_QUALITY = 82
_DASH = 9  # pixels


def make_errors_section(analysis: Analysis) -> Section:
    """Return the kinds of errors, and the AP that each costs."""
    errors = analysis.errors
    costs = {kind: mean(cost) for kind, cost in zip(KINDS, errors.costs, strict=True)}
    counts = [*(int((errors.kinds == kind).sum()) for kind in range(len(KINDS) - 1)), int(errors.is_missed.sum())]
    content = paragraph(
        f"{'AP50' if analysis.tables.metric == 'coco' else 'mAP'} is {number(mean(analysis.ap), '.3f')}. Each cost "
        "is the gain in it if only the errors of one kind were fixed, whatever their score; costs do not add up. Kinds "
        "and fixes are those of TIDE (Bolya et al., ECCV 2020, Sec. 2.2 and 2.3)."
    )
    alt = "Bars, lost AP by kind of error: " + ", ".join(f"{name} {100 * cost:.1f}" for name, cost in costs.items())
    figure = plot(partial(plot_costs, costs), alt, "Points of 100 that each kind of error costs.")
    columns = [Column("kind"), Column("number", ",d"), Column("points lost", ".2f"), Column("meaning")]
    rows = [(kind, count, 100 * costs[kind], _MEANINGS[kind]) for kind, count in zip(KINDS, counts, strict=True)]
    content += gallery([figure, table("Errors by kind", columns, rows)])
    return Section("errors", "Errors", content)


def make_confusion_section(analysis: Analysis) -> Section:
    """Return the confusion matrix at the best threshold, and its most frequent errors."""
    matrix, names = analysis.confusion, analysis.tables.class_names
    chosen = pick_confused(matrix, MAX_CONFUSED)
    shown, order = [names[label] for label in chosen], [*chosen, 0]
    choice = ""
    if len(chosen) < len(names) - 1:
        choice = f" {len(chosen)} of {len(names) - 1} classes: those confused most with others."
    caption = (
        "Each row is a class of objects, each column the class they are detected as; shades are shares of the row. The "
        f"last column counts missed objects, the last row false alarms.{choice}"
    )
    found = int(np.trace(matrix[1:, 1:]))
    counts = (
        f"{found:,} objects found, {int(matrix[1:, 0].sum()):,} missed, "
        f"{int(matrix[1:, 1:].sum()) - found:,} detected as another class, {int(matrix[0].sum()):,} false alarms"
    )
    draw = partial(plot_confusion, matrix[np.ix_(order, order)], [*shown, "nothing there"], [*shown, "missed"])
    content = paragraph(f"At score {analysis.threshold:.3g} and IoU 0.5: {counts}. The table lists the errors.")
    content += plot(draw, f"Confusion matrix: {counts}", caption)
    cells = np.argwhere(matrix * (1 - np.eye(len(names), dtype=np.int64)))
    cells = cells[np.argsort(-matrix[tuple(cells.T)], kind="stable")]
    totals = analysis.tables.count_objects()
    rows = [
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
    return Section("confusion", "Confusion", content + table(title, heads, rows))


def make_images_section(evaluation: DatasetEvaluation, analysis: Analysis) -> Section:
    """Return images with fewest and with most errors."""
    best, worst = analysis.best_images(_NUM_IMAGES), analysis.worst_images(_NUM_IMAGES)
    content = paragraph(
        f"Detections that score above {analysis.threshold:.3g}. Green: found. Red, F: false alarm. Dashed yellow, M: "
        "missed object. Objects that need not be found (difficult, crowd) are not drawn."
    )
    for title, chosen, none in (
        ("Good: fewest errors, most objects found", best, "Nothing is found in any image without many errors."),
        ("Bad: most errors", worst, "No image has an error."),
    ):
        content += f"<h3>{title}</h3>\n"
        content += gallery(_image(evaluation, analysis, one) for one in chosen) if chosen else paragraph(none)
    return Section("images", "Pictures", content)


def _image(evaluation: DatasetEvaluation, analysis: Analysis, errors: ImageErrors) -> str:
    names, found, objects = analysis.tables.class_names, analysis.tables.detections, analysis.tables.objects
    false_alarms = errors.false_alarms[np.argsort(-found.scores[errors.false_alarms], kind="stable")]
    marks = [Mark(_named(names, found, row), found.boxes[row], GREEN) for row in errors.hits.tolist()]
    items = []
    for place, row in enumerate(false_alarms.tolist(), start=1):
        kind, target = KINDS[analysis.errors.kinds[row]], analysis.errors.targets[row]
        error = f"is {names[objects.labels[target]]}" if kind == "class" else kind
        items.append(f"F{place} {_named(names, found, row)}: {error}")
        marks.append(Mark(f"F{place} {_named(names, found, row)}", found.boxes[row], VERMILLION))
    for place, row in enumerate(errors.missed.tolist(), start=1):
        items.append(f"M{place} {names[objects.labels[row]]}: missed")
        marks.append(Mark(f"M{place} {names[objects.labels[row]]}", objects.boxes[row], YELLOW))
    if len(items) > _MAX_LISTED:
        items = [*items[:_MAX_LISTED], f"and {len(items) - _MAX_LISTED} more"]
    image_id = evaluation.dataset.get_annotation(errors.image)[0]
    alarms = f"{len(false_alarms)} false alarm{'' if len(false_alarms) == 1 else 's'}"
    counts = f"{len(errors.missed)} missed, {alarms}, {len(errors.hits)} found"
    picture = draw_marks(evaluation.dataset[errors.image][0], marks)
    return photo(*picture, f"Image {image_id} with {counts}", f"{image_id}: {counts}", items)


class Mark(NamedTuple):
    """Box (4,) with a text, in a colour: GREEN found, VERMILLION false alarm, YELLOW, in dashes, missed."""

    text: str
    box: np.ndarray
    color: str


def draw_marks(image: np.ndarray, marks: Sequence[Mark]) -> tuple[bytes, tuple[int, int]]:
    """Draw marks on an image, RGB uint8 (H, W, 3), enlarged or reduced to 720 pixels on the longer side.

    Kinds differ by line and letter as well as by colour. Return a JPEG file, and its width and height.
    """
    scale = _SIDE / max(image.shape[:2])
    width, height = (max(round(side * scale), 1) for side in image.shape[1::-1])
    picture = Image.fromarray(image).resize((width, height))
    pen = Pen(picture)
    tags = []
    for text, corners, color in marks:
        x1, y1, x2, y2 = np.clip(np.round(corners * scale), 0, np.tile([width, height], 2) - 1).astype(int).tolist()
        box = (x1, y1, max(x1, x2), max(y1, y2))
        pen.draw_box(box, color, _DASH * (color == YELLOW))
        tags.append((text, box, color))
    pen.draw_tags(tags)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue(), picture.size


def _named(names: Sequence[str], found: DetectionTable, row: int) -> str:
    return f"{names[found.labels[row]]} {found.scores[row]:.0%}"
