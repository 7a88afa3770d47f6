"""Pictures of what training makes of one image: priors, matches, mined negatives.

Boxes are corner form in pixels of the image, which is the network's input.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ssd.tools.explain.image_axes import (
    OBJECT_COLOR,
    TITLE,
    add_figure_legend,
    draw_boxes,
    draw_objects,
    draw_tag,
    legend_line,
    make_panels,
    set_distance,
    show_image,
    view_around,
    view_boxes,
)
from ssd.visualization.theme import LIGHT, SMALL_FONT_SIZE, WIDE, make_figure

_MAX_OBJECTS = 11  # and the whole image
_MAX_NUMBERED = 6


@dataclass(frozen=True)
class LevelDrawing:
    """A feature map on the image.

    Attributes:
        title: above it, a line or two.
        edges_x: (columns + 1,) of its cells, pixels.
        edges_y: (rows + 1,) likewise.
        centers: (cells, 2) x and y of its priors.
        cell: (4,) the cell whose priors are drawn.
        boxes: (A, 4) these priors.
    """

    title: str
    edges_x: np.ndarray
    edges_y: np.ndarray
    centers: np.ndarray
    cell: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True)
class ObjectDrawing:
    """An object and its priors.

    Attributes:
        name: of its class.
        text: what to say of its priors.
        box: (4,).
        matched: (M, 4) priors that reach the threshold.
        forced: (F, 4) the prior that does not, if there is one.
    """

    name: str
    text: str
    box: np.ndarray
    matched: np.ndarray
    forced: np.ndarray


def plot_levels(image: np.ndarray, levels: Sequence[LevelDrawing]) -> Figure:
    """Draw each level's cells, the centres of its priors, and all priors of one cell.

    Args:
        image: RGB uint8 (H, W, 3).
        levels: the finest first.
    """
    figure, panels = make_panels(image, len(levels), 2 if len(levels) <= 4 else 3, LIGHT)
    for axes, level in zip(panels, levels, strict=True):
        show_image(axes, image, view_around(image), LIGHT)
        for edges, along in ((level.edges_x, axes.vlines), (level.edges_y, axes.hlines)):
            other = level.edges_y if edges is level.edges_x else level.edges_x
            along(edges, other[0], other[-1], colors=LIGHT.muted, linewidth=0.3 if len(edges) > 12 else 0.6)
        size = float(np.clip(40 / math.sqrt(len(level.centers)), 0.9, 4))
        axes.plot(*level.centers.T, ".", color="#000000", markersize=size, markeredgewidth=0)
        draw_boxes(axes, level.cell[None], color="#000000", facecolor=LIGHT.series[5], alpha=0.5, width=0.8)
        for number, box in enumerate(level.boxes):
            pair = number // 2 % 3  # the squares, then two shapes a ratio
            draw_boxes(axes, box[None], color=LIGHT.series[pair], linestyle=("-", "--", ":")[pair], width=1.6)
        axes.set_title(level.title, loc="left", fontsize=SMALL_FONT_SIZE, color=LIGHT.text)
    return figure


def plot_matches(image: np.ndarray, objects: Sequence[ObjectDrawing]) -> Figure:
    """Draw all objects, and each with the priors that are trained to find it.

    Args:
        image: RGB uint8 (H, W, 3).
        objects: of more than 11 the first are drawn.
    """
    shown = objects[:_MAX_OBJECTS]
    figure, panels = make_panels(image, 1 + len(shown), 3, LIGHT)
    show_image(panels[0], image, view_around(image, 0), LIGHT)
    draw_objects(panels[0], np.stack([item.box for item in objects]))
    for number, item in enumerate(shown):
        draw_tag(panels[0], item.box, str(number), LIGHT)
    more = f", {len(shown)} of them one by one" if len(objects) > len(shown) else ""
    panels[0].set_title(f"{len(objects)} object{'s' * (len(objects) != 1)}{more}", loc="left", fontsize=SMALL_FONT_SIZE)
    for number, (axes, item) in enumerate(zip(panels[1:], shown, strict=True)):
        boxes = np.concatenate([item.box[None], item.matched, item.forced])
        show_image(axes, image, view_boxes(image, boxes), LIGHT)
        draw_boxes(axes, item.matched, color=LIGHT.series[0], width=1.2)
        draw_boxes(axes, item.forced, color=LIGHT.series[1], width=2, linestyle="--")
        draw_objects(axes, item.box[None])
        axes.set_title(f"{number} {item.name}\n{item.text}", loc="left", fontsize=SMALL_FONT_SIZE)
    lines = [
        legend_line("object", OBJECT_COLOR, 2),
        legend_line("prior, by threshold", LIGHT.series[0], 1.2),
        legend_line("prior, forced", LIGHT.series[1], 2, "--"),
    ]
    add_figure_legend(figure, lines, LIGHT)
    return figure


def plot_negatives(
    image: np.ndarray,
    boxes: np.ndarray,
    losses: np.ndarray,
    gt_boxes: np.ndarray,
    *,
    notes: Sequence[str],
) -> Figure:
    """Draw the negatives that are in the loss, and the losses of all.

    Args:
        image: RGB uint8 (H, W, 3).
        boxes: (K, 4) the priors that were chosen, the hardest first.
        losses: (N,) of all background priors, descending; the first K were chosen.
        gt_boxes: (G, 4) the objects.
        notes: what to say of the hardest.
    """
    height, width = image.shape[:2]
    figure, grid = make_figure(LIGHT, width=WIDE, height=WIDE / 2 * min(height / width, 1.1) + TITLE, columns=2)
    set_distance(figure)
    left, right = grid[0]
    show_image(left, image, view_around(image), LIGHT)
    numbered = min(_MAX_NUMBERED, len(boxes))
    draw_boxes(left, boxes[numbered:], color=LIGHT.series[5], width=0.7, alpha=0.7)
    draw_objects(left, gt_boxes)
    draw_boxes(left, boxes[:numbered], color=LIGHT.series[1], width=1.8, linestyle="--")
    for rank, box in reversed(list(enumerate(boxes[:numbered], start=1))):
        draw_tag(left, box, str(rank), LIGHT, at_end=True)
    left.set_title(f"the {len(boxes)} hardest of {len(losses)} background priors", loc="left", fontsize=SMALL_FONT_SIZE)

    ranks = np.arange(1, len(losses) + 1)
    right.plot(ranks, losses, color=LIGHT.muted, linewidth=1.6)
    right.fill_between(ranks[: len(boxes)], losses[: len(boxes)], color=LIGHT.series[5], alpha=0.6, linewidth=0)
    right.axvline(max(len(boxes), 1), color=LIGHT.series[1], linestyle="--", linewidth=1.2)
    right.set(xscale="log", xlabel="rank by loss", ylabel="classification loss", ylim=(0, None))
    right.set_xlim(1, max(len(losses), 2))
    right.set_title(f"in the loss: ranks 1 to {len(boxes)}", loc="left", fontsize=SMALL_FONT_SIZE)
    text = "\n".join(f"{rank}  {note}" for rank, note in enumerate(notes[:numbered], start=1))
    box_style: dict[str, Any] = {"facecolor": LIGHT.background, "edgecolor": LIGHT.grid, "alpha": 0.9}
    place: dict[str, Any] = {"transform": right.transAxes, "ha": "right", "va": "top", "multialignment": "left"}
    right.text(0.98, 0.97, text, color=LIGHT.text, fontsize=SMALL_FONT_SIZE, bbox=box_style, **place)
    return figure
