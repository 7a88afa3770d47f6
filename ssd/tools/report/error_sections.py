"""Sections on the errors: kinds, confusion, and the images with most errors."""

import io
from collections.abc import Sequence
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ssd.engine.inference import DatasetEvaluation
from ssd.evaluation import Analysis
from ssd.evaluation.error_kinds import KINDS
from ssd.evaluation.matching import ImageErrors, pick_confused
from ssd.tools.report.elements import Column, gallery, number, paragraph, photo, plot, table
from ssd.tools.report.metric_sections import mean
from ssd.tools.report.page import Section
from ssd.visualization.palette import VERMILLION, YELLOW
from ssd.visualization.plots import MAX_CONFUSED, plot_confusion, plot_costs
from ssd.visualization.theme import DARK

_NUM_IMAGES = 12
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
_MAX_SIDE = 560  # pixels: sharp in a column of the page, and some 60 kB
_QUALITY = 82
_FONT_SIZE, _TAG = 17, 20  # pixels: letters, height of a tag
_DASH = 9  # pixels


def make_errors_section(analysis: Analysis) -> Section:
    """Return the kinds of errors, and the AP that each costs."""
    errors = analysis.errors
    names = (*KINDS, "all false positives", "all false negatives")
    all_costs = [*errors.costs, errors.false_positive_costs, errors.false_negative_costs]
    costs = {name: mean(cost) for name, cost in zip(names, all_costs, strict=True)}
    counts = [*(int((errors.kinds == kind).sum()) for kind in range(len(KINDS) - 1)), int(errors.is_missed.sum())]
    content = paragraph(
        f"AP at IoU 0.5 is {number(mean(errors.base_ap), '.3f')}. Each cost is the gain in this AP if only the errors "
        "of one kind were fixed, whatever their score; costs do not add up. Kinds and fixes are those of TIDE (Bolya "
        "et al., ECCV 2020, Sec. 2.2 and 2.3)."
    )
    alt = "Bars, lost AP by kind of error: " + ", ".join(f"{name} {100 * cost:.1f}" for name, cost in costs.items())
    figure = plot(partial(plot_costs, costs), alt, "AP that is lost to each kind of error, in hundredths.")
    columns = [Column("kind"), Column("number", ",d"), Column("lost AP × 100", ".2f"), Column("meaning")]
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
    """Return the images with most errors."""
    worst = analysis.worst_images(_NUM_IMAGES)
    if not worst:
        return Section("images", "Worst images", paragraph("No image has an error."))
    content = paragraph(
        f"The images with most errors, missed objects and false alarms together, at score {analysis.threshold:.3g} and "
        "IoU 0.5; of equal numbers the one whose false alarms score highest comes first."
    )
    content += paragraph(
        "Thin black and white box: found. Thick red box, F: false alarm. Dashed yellow box, M: missed object. "
        "Objects that need not be found (difficult, crowd) are not drawn."
    )
    content += gallery(_image(evaluation, analysis, one) for one in worst)
    return Section("images", "Worst images", content)


def _image(evaluation: DatasetEvaluation, analysis: Analysis, errors: ImageErrors) -> str:
    names, found, objects = analysis.tables.class_names, analysis.tables.detections, analysis.tables.objects
    false_alarms = errors.false_alarms[np.argsort(-found.scores[errors.false_alarms], kind="stable")]
    image = evaluation.dataset[errors.image][0]
    boxes = (found.boxes[errors.hits], found.boxes[false_alarms], objects.boxes[errors.missed])
    items = []
    for place, row in enumerate(false_alarms.tolist(), start=1):
        kind, target = KINDS[analysis.errors.kinds[row]], analysis.errors.targets[row]
        error = f"is {names[objects.labels[target]]}" if kind == "class" else kind
        items.append(f"F{place} {names[found.labels[row]]} {found.scores[row]:.2f}: {error}")
    items += [f"M{place} {names[objects.labels[row]]}: missed" for place, row in enumerate(errors.missed.tolist(), 1)]
    if len(items) > _MAX_LISTED:
        items = [*items[:_MAX_LISTED], f"and {len(items) - _MAX_LISTED} more"]
    image_id = evaluation.dataset.get_annotation(errors.image)[0]
    alarms = f"{len(false_alarms)} false alarm{'' if len(false_alarms) == 1 else 's'}"
    counts = f"{len(errors.missed)} missed, {alarms}, {len(errors.hits)} found"
    return photo(*mark_errors(image, *boxes), f"Image {image_id} with {counts}", f"{image_id}: {counts}", items)


def mark_errors(
    image: np.ndarray, found: np.ndarray, false_alarms: np.ndarray, missed: np.ndarray
) -> tuple[bytes, tuple[int, int]]:
    """Mark found objects by thin lines, false alarms by red ones and F1, F2..., missed objects by dashes and M1...

    Kinds differ by line and letter as well as by colour; vizer has one kind of line. ``image`` is RGB uint8 (H, W, 3),
    boxes are (N, 4). Return a JPEG file, reduced to at most 560 pixels a side, and its width and height.
    """
    scale = min(1.0, _MAX_SIDE / max(image.shape[:2]))
    width, height = (max(round(side * scale), 1) for side in image.shape[1::-1])
    picture = Image.fromarray(image).resize((width, height))
    draw = ImageDraw.Draw(picture)
    limit = np.array([width, height, width, height]) - 1
    groups = (np.clip(np.round(boxes.reshape(-1, 4) * scale), 0, limit) for boxes in (found, false_alarms, missed))
    hits, alarms, misses = (boxes.astype(int).tolist() for boxes in groups)
    for box in hits:
        draw.rectangle(_grown(box, 1), outline=DARK.background)
        draw.rectangle(_grown(box, 0), outline="white")
    for box in alarms:
        draw.rectangle(_grown(box, 1), outline=VERMILLION, width=3)
    for box in misses:
        _draw_dashes(draw, box)
    tags = [(f"F{place}", left, top - _TAG, VERMILLION) for place, (left, top, _, _) in enumerate(alarms, start=1)]
    tags += [(f"M{place}", left, bottom, YELLOW) for place, (left, _, _, bottom) in enumerate(misses, start=1)]
    font = ImageFont.load_default(_FONT_SIZE)
    for text, left, top, color in reversed(tags):  # of several in one place the first is seen
        length = round(draw.textlength(text, font)) + 6
        x, y = max(min(left, width - length - 1), 0), max(min(top, height - _TAG - 1), 0)
        draw.rectangle((x, y, x + length, y + _TAG), fill=color, outline=DARK.background)
        draw.text((x + length / 2, y + _TAG / 2), text, fill="black", font=font, anchor="mm")
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue(), picture.size


def _grown(box: Sequence[int], by: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = box
    return left - by, top - by, max(right, left) + by, max(bottom, top) + by


def _draw_dashes(draw: ImageDraw.ImageDraw, box: Sequence[int]) -> None:
    """Yellow dashes on a dark line, visible on any image."""
    left, top, right, bottom = _grown(box, 0)
    draw.rectangle(_grown(box, 1), outline=DARK.background, width=4)
    for x in range(left, right + 1, 2 * _DASH):
        for y in (top, bottom):
            draw.line((x, y, min(x + _DASH, right), y), fill=YELLOW, width=2)
    for y in range(top, bottom + 1, 2 * _DASH):
        for x in (left, right):
            draw.line((x, y, x, min(y + _DASH, bottom)), fill=YELLOW, width=2)
