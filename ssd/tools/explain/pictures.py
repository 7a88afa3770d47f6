"""The pictures of an explanation."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.figure import Figure

from ssd.tools.explain.candidates import BEYOND_LIMIT, FATES, KEPT, NOT_AMONG_BEST, SUPPRESSED
from ssd.tools.explain.explain_plots import LevelDrawing, ObjectDrawing, plot_levels, plot_matches, plot_negatives
from ssd.tools.explain.layout import Level
from ssd.tools.explain.matching import Matching
from ssd.tools.explain.report import mined, mistaken_for
from ssd.tools.explain.trace_plots import TraceDrawing, plot_trace

if TYPE_CHECKING:
    from ssd.tools.explain.explanation import Explanation

_NOTES = 6
_SHAPES_A_LINE = 4


def draw_pictures(explanation: "Explanation", detection: int) -> dict[str, Figure]:
    """Return the pictures by the stem of their file's name; those that the image gives nothing for are left out."""
    figures = {"priors": draw_levels(explanation, detection)}
    matching = explanation.matching
    if matching is not None:
        if len(matching.boxes):
            figures["matches"] = draw_matches(explanation, matching)
        figures["negatives"] = draw_negatives(explanation, matching)
    if len(explanation.candidates.detections):
        figures["detection"] = draw_trace(explanation, detection)
    return figures


def draw_levels(explanation: "Explanation", detection: int) -> Figure:
    """Draw the priors of each level; in full those of the cell where the detection is, else of the middle."""
    height, width = explanation.image.shape[:2]
    if len(explanation.candidates.detections):
        box = explanation.trace(detection).box.numpy()
        x, y = (box[:2] + box[2:]) / 2
    else:
        x, y = width / 2, height / 2
    levels = [_level_drawing(explanation, level, float(x), float(y)) for level in explanation.levels]
    return plot_levels(explanation.image, levels)


def _level_drawing(explanation: "Explanation", level: Level, x: float, y: float) -> LevelDrawing:
    """A level whose full cell is the one that holds a point."""
    rows, columns = level.feature_map
    step_y, step_x = level.stride
    num_shapes = len(level.shapes)
    priors = explanation.priors[level.first : level.first + level.num_priors].numpy()
    row, column = min(max(int(y / step_y), 0), rows - 1), min(max(int(x / step_x), 0), columns - 1)
    first = (row * columns + column) * num_shapes
    centers = (priors[::num_shapes, :2] + priors[::num_shapes, 2:]) / 2
    shapes = [f"{width:.0f}×{height:.0f}" for width, height in level.shapes]
    lines = [", ".join(shapes[start : start + _SHAPES_A_LINE]) for start in range(0, num_shapes, _SHAPES_A_LINE)]
    head = f"level {level.number}: {columns}×{rows} cells, stride {step_x:g}, {level.num_priors} priors"
    return LevelDrawing(
        title="\n".join([head, *lines]),
        edges_x=np.arange(columns + 1) * step_x,
        edges_y=np.arange(rows + 1) * step_y,
        centers=centers,
        cell=np.array([column * step_x, row * step_y, (column + 1) * step_x, (row + 1) * step_y]),
        boxes=priors[first : first + num_shapes],
    )


def draw_matches(explanation: "Explanation", matching: Matching) -> Figure:
    """Draw the priors that each object is learnt by."""
    objects = []
    for gt, label in enumerate(matching.labels.tolist()):
        priors = matching.priors_of(gt)
        is_forced = matching.is_forced[priors]
        objects.append(
            ObjectDrawing(
                name=explanation.class_names[label],
                text=_match_text(matching, priors, [explanation.place(prior).level for prior in priors.tolist()]),
                box=matching.boxes[gt].numpy(),
                matched=explanation.priors[priors[~is_forced]].numpy(),
                forced=explanation.priors[priors[is_forced]].numpy(),
            )
        )
    return plot_matches(explanation.image, objects)


def _match_text(matching: Matching, priors: torch.Tensor, levels: list[int]) -> str:
    """Which priors an object has, in one short line."""
    if len(priors) == 0:
        return "no prior is left for it"
    where = f"level {levels[0]}" if min(levels) == max(levels) else f"levels {min(levels)} to {max(levels)}"
    best = float(matching.iou[priors[0]])
    if matching.is_forced[priors].all():
        return f"forced, IoU {best:.2f}, {where}"
    return f"{len(priors)} prior{'s' * (len(priors) != 1)}, best IoU {best:.2f}, {where}"


def draw_negatives(explanation: "Explanation", matching: Matching) -> Figure:
    """Draw the hard negatives."""
    chosen = mined(matching)
    notes = []
    for prior in chosen[:_NOTES].tolist():
        name, score = mistaken_for(explanation, prior)
        loss, iou = float(matching.cls_loss[prior]), float(matching.iou[prior])
        notes.append(f"loss {loss:.2f}: {name} {score:.2f}, IoU {iou:.3f}")
    losses = matching.cls_loss[~matching.pos_mask].sort(descending=True).values
    boxes = explanation.priors[chosen].numpy()
    return plot_negatives(explanation.image, boxes, losses.numpy(), matching.boxes.numpy(), notes=notes)


def draw_trace(explanation: "Explanation", detection: int) -> Figure:
    """Draw how a detection came to be."""
    trace, found, matching = explanation.trace(detection), explanation.candidates, explanation.matching
    gt_box = np.zeros((0, 4), np.float32)
    if matching is not None and trace.best_gt is not None:
        gt_box = matching.boxes[trace.best_gt : trace.best_gt + 1].numpy()
    level, row, column, _ = trace.place
    offsets = ", ".join(
        f"{name} {value:+.2f}" for name, value in zip(("dx", "dy", "dw", "dh"), trace.offsets, strict=True)
    )
    return plot_trace(
        explanation.image,
        TraceDrawing(
            name=explanation.class_names[trace.label],
            prior=trace.prior_box.numpy(),
            box=trace.box.numpy(),
            gt_box=gt_box,
            text=f"level {level}, row {row}, column {column}\n{offsets}",
            class_names=explanation.class_names,
            class_scores=trace.class_scores.numpy(),
            suppressed=found.boxes[trace.suppressed].numpy(),
            suppressed_scores=found.scores[trace.suppressed].numpy(),
            points=_points(explanation, detection),
            nms_threshold=found.nms_threshold,
        ),
    )


def _points(explanation: "Explanation", detection: int) -> dict[str, np.ndarray]:
    """IoU and score of the candidates of the class, by what became of them; kinds without any are left out."""
    trace, found = explanation.trace(detection), explanation.candidates
    fates, is_own = found.fates[trace.rivals], found.suppressors[trace.rivals] == trace.candidate
    kinds = {
        "detections": fates == FATES.index(KEPT),
        "suppressed by this one": is_own,
        "suppressed by others": (fates == FATES.index(SUPPRESSED)) & ~is_own,
        "beyond the limits": (fates == FATES.index(BEYOND_LIMIT)) | (fates == FATES.index(NOT_AMONG_BEST)),
    }
    points = torch.stack([trace.rival_iou, found.scores[trace.rivals]], dim=1)
    return {name: points[mask].numpy() for name, mask in kinds.items() if mask.any()}
