"""A picture of how a detection came to be. Boxes are corner form in pixels of the image, the network's input."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ssd.tools.explain.image_axes import (
    OBJECT_COLOR,
    add_figure_legend,
    draw_boxes,
    draw_objects,
    legend_line,
    set_distance,
    show_image,
    view_boxes,
)
from ssd.visualization.theme import LIGHT, SMALL_FONT_SIZE, WIDE, bar_style, make_figure

_MAX_BARS = 8
# Marker and colour of candidates, by what became of them.
_RIVALS = {
    "detections": ("o", 1),
    "suppressed by this one": ("x", 0),
    "suppressed by others": ("+", 4),
    "beyond the limits": ("v", 2),
}


@dataclass(frozen=True)
class TraceDrawing:
    """How a detection came to be.

    Attributes:
        name: of its class.
        prior: (4,).
        box: (4,) decoded.
        gt_box: (1, 4) the object that it overlaps most, or (0, 4).
        text: the offsets in words.
        class_names: of all classes, background first.
        class_scores: (C,).
        suppressed: (S, 4) boxes that it suppressed.
        suppressed_scores: (S,).
        points: IoU with it and score (N, 2) of the candidates of its class, by what became of them: "detections",
            "suppressed by this one", "suppressed by others", "beyond the limits".
        nms_threshold: IoU from which it suppresses.
    """

    name: str
    prior: np.ndarray
    box: np.ndarray
    gt_box: np.ndarray
    text: str
    class_names: Sequence[str]
    class_scores: np.ndarray
    suppressed: np.ndarray
    suppressed_scores: np.ndarray
    points: dict[str, np.ndarray]
    nms_threshold: float


def plot_trace(image: np.ndarray, trace: TraceDrawing) -> Figure:
    """Draw the prior and the box of a detection, its scores, and what NMS dropped in its favour.

    Args:
        image: RGB uint8 (H, W, 3).
        trace: of the detection.
    """
    figure, grid = make_figure(LIGHT, width=WIDE, height=7.6, rows=2, columns=2)
    set_distance(figure)
    _draw_decoding(grid[0, 0], image, trace)
    _draw_scores(grid[0, 1], trace)
    _draw_suppressed(grid[1, 0], image, trace)
    points = _draw_rivals(grid[1, 1], trace)
    lines = [
        *([legend_line("object", OBJECT_COLOR, 2)] if len(trace.gt_box) else []),
        legend_line("prior", LIGHT.series[0], 2, "--"),
        legend_line("detection", LIGHT.series[1], 2.2),
        *([legend_line("suppressed", LIGHT.series[0], 1)] if len(trace.suppressed) else []),
    ]
    add_figure_legend(figure, [*lines, *points], LIGHT)
    return figure


def _draw_decoding(axes: Axes, image: np.ndarray, trace: TraceDrawing) -> None:
    boxes = np.stack([trace.prior, trace.box])
    show_image(axes, image, view_boxes(image, np.concatenate([boxes, trace.gt_box])), LIGHT)
    if len(trace.gt_box):
        draw_objects(axes, trace.gt_box)
    draw_boxes(axes, trace.prior[None], color=LIGHT.series[0], linestyle="--", width=2)
    draw_boxes(axes, trace.box[None], color=LIGHT.series[1], width=2.2)
    start, end = ((box[:2] + box[2:]) / 2 for box in boxes)
    arrow: dict[str, Any] = {"arrowstyle": "->", "color": "#000000", "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", tuple(end), tuple(start), arrowprops=arrow)
    axes.set_title("1. the prior is moved by the offsets", loc="left")
    axes.set_xlabel(trace.text, fontsize=SMALL_FONT_SIZE)


def _draw_scores(axes: Axes, trace: TraceDrawing) -> None:
    order = np.argsort(-trace.class_scores, kind="stable")[:_MAX_BARS]
    positions = np.arange(len(order))
    axes.barh(positions, trace.class_scores[order], 0.7, **bar_style(0, LIGHT))
    names = ["background" if index == 0 else trace.class_names[index] for index in order]
    for position, score in enumerate(trace.class_scores[order].tolist()):
        _write_beside(axes, score, position, f"{score:.3f}")
    axes.set_yticks(positions, names)
    axes.set(xlim=(0, 1.18), ylim=(max(len(order), 4) - 0.4, -0.6), xlabel="score of the prior")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.grid(False, axis="y")
    rest = len(trace.class_scores) - len(order)
    axes.set_title("2. its class scores" + (f", the {len(order)} highest" if rest else ""), loc="left")


def _draw_suppressed(axes: Axes, image: np.ndarray, trace: TraceDrawing) -> None:
    show_image(axes, image, view_boxes(image, np.concatenate([trace.box[None], trace.suppressed])), LIGHT)
    draw_boxes(axes, trace.suppressed, color=LIGHT.series[0], width=1)
    draw_boxes(axes, trace.box[None], color=LIGHT.series[1], width=2.2)
    number = len(trace.suppressed)
    axes.set_title(f"3. NMS drops {number} neighbour{'s' * (number != 1)} in its favour", loc="left")
    best = ", ".join(f"{score:.2f}" for score in trace.suppressed_scores[:6])
    more = ", ..." if number > 6 else ""
    axes.set_xlabel(f"their scores: {best}{more}" if number else "no other box of its class overlaps it enough")
    axes.xaxis.label.set_fontsize(SMALL_FONT_SIZE)


def _draw_rivals(axes: Axes, trace: TraceDrawing) -> list[Line2D]:
    """Return the points, for a legend."""
    points = []
    for name, values in trace.points.items():
        marker, color = _RIVALS[name]
        style: dict[str, Any] = {"color": LIGHT.series[color], "markersize": 6, "linestyle": ""}
        points += axes.plot(*values.T, marker, label=name, **style)
    axes.axvline(trace.nms_threshold, color=LIGHT.muted, linewidth=1)
    place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    text: dict[str, Any] = {"va": "bottom", "color": LIGHT.muted, "fontsize": SMALL_FONT_SIZE}
    axes.annotate(f"NMS {trace.nms_threshold:g}", (trace.nms_threshold, 1), xytext=(0, 2), ha="center", **place, **text)
    axes.set(xlabel="IoU with the detection", ylabel=f"score for {trace.name}", xlim=(-0.03, 1.05), ylim=(-0.03, 1.05))
    axes.set_title("4. all candidates of its class", loc="left", pad=18)
    return points


def _write_beside(axes: Axes, x: float, y: float, text: str) -> None:
    style: dict[str, Any] = {
        "textcoords": "offset points",
        "va": "center",
        "color": LIGHT.text,
        "fontsize": SMALL_FONT_SIZE,
    }
    axes.annotate(text, (x, y), xytext=(4, 0), **style)
