"""Boxes on an image in axes of matplotlib. Boxes are corner form in pixels of the image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from ssd.visualization.theme import SMALL_FONT_SIZE, WIDE, Theme, make_figure

_FADE = 0.5  # of the image towards white, so that lines stand out
_MARGIN = 0.1  # around the image, of its sides: priors leave it
_ZOOM_MARGIN = 0.35  # around boxes, of their extent
_MIN_ZOOM = 0.3  # of the image's sides
TITLE = 0.62  # inches above and below a panel
_PAD = 0.08  # inches around one
OBJECT_COLOR = "#000000"


def make_panels(image: np.ndarray, number: int, columns: int, theme: Theme) -> tuple[Figure, list[Axes]]:
    """Build a figure with as many axes as needed, each of the image's shape.

    Args:
        image: (H, W, 3).
        number: of axes.
        columns: at most.
        theme: of the figure.

    Returns:
        The figure, and its axes row by row.
    """
    columns = min(columns, number)
    rows = -(-number // columns)
    width = WIDE if columns > 1 else WIDE / 2
    panel = width / columns * image.shape[0] / image.shape[1]
    figure, grid = make_figure(theme, width=width, height=rows * (panel + TITLE), rows=rows, columns=columns)
    set_distance(figure)
    for axes in grid.flat[number:]:
        axes.set_axis_off()
    return figure, list(grid.flat[:number])


def set_distance(figure: Figure) -> None:
    """Keep titles off the edge of the figure and off the panel above."""
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine), "make_figure gives one"
    engine.set(h_pad=_PAD, w_pad=_PAD / 2)


def show_image(axes: Axes, image: np.ndarray, view: tuple[float, float, float, float], theme: Theme) -> None:
    """Show the part (x1, y1, x2, y2) of an image, RGB uint8 (H, W, 3), pale and in its own pixels."""
    height, width = image.shape[:2]
    faded = (image * (1 - _FADE) + 255 * _FADE).astype(np.uint8)
    axes.imshow(faded, extent=(0, width, height, 0), interpolation="nearest")
    x1, y1, x2, y2 = view
    axes.set(xlim=(x1, x2), ylim=(y2, y1), xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(theme.grid)


def view_around(image: np.ndarray, margin: float = _MARGIN) -> tuple[float, float, float, float]:
    """Return a view of the whole image, with a margin as a share of its sides."""
    height, width = image.shape[:2]
    return -margin * width, -margin * height, (1 + margin) * width, (1 + margin) * height


def view_boxes(image: np.ndarray, boxes: np.ndarray) -> tuple[float, float, float, float]:
    """Return a view of the image's shape that holds all boxes (N, 4), and a little around them."""
    height, width = image.shape[:2]
    x1, y1 = boxes[:, :2].min(axis=0)
    x2, y2 = boxes[:, 2:].max(axis=0)
    share = max((x2 - x1) / width, (y2 - y1) / height) * (1 + _ZOOM_MARGIN)
    share = float(np.clip(share, _MIN_ZOOM, 1 + 2 * _MARGIN))
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - share * width / 2, y - share * height / 2, x + share * width / 2, y + share * height / 2


def draw_boxes(
    axes: Axes,
    boxes: np.ndarray,
    *,
    color: str,
    width: float = 1.4,
    linestyle: str = "-",
    facecolor: str = "none",
    alpha: float = 1,
) -> None:
    """Draw outlines of boxes (N, 4); thick ones have light behind, so that they are seen on any image."""
    effects = [withStroke(linewidth=width + 1, foreground="#FFFFFF", alpha=0.7)] if width > 1 else []
    for x1, y1, x2, y2 in boxes.tolist():
        style: dict[str, Any] = {
            "facecolor": facecolor,
            "edgecolor": color,
            "linewidth": width,
            "linestyle": linestyle,
            "alpha": alpha,
        }
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, path_effects=effects, **style))


def draw_objects(axes: Axes, boxes: np.ndarray) -> None:
    """Draw the boxes (N, 4) of ground truth."""
    draw_boxes(axes, boxes, color=OBJECT_COLOR, width=2)


def draw_tag(axes: Axes, box: np.ndarray, text: str, theme: Theme, *, at_end: bool = False) -> None:
    """Write a number into the upper left corner of a box (4,), or into the lower right one, inside of the view."""
    left, right, bottom, top = *axes.get_xlim(), *axes.get_ylim()
    corner = box[2:] if at_end else box[:2]
    x, y = np.clip(corner, [left, top], [right, bottom])
    style: dict[str, Any] = {
        "facecolor": "#FFFFFF",
        "edgecolor": theme.text,
        "linewidth": 0.6,
        "boxstyle": "round,pad=0.15",
    }
    align: dict[str, Any] = {"ha": "right", "va": "bottom"} if at_end else {"ha": "left", "va": "top"}
    axes.text(x, y, text, color="#000000", fontsize=SMALL_FONT_SIZE, bbox=style, clip_on=False, **align)


def add_figure_legend(figure: Figure, lines: Sequence[Artist], theme: Theme) -> None:
    """Tell below all axes what their lines mean."""
    colors: dict[str, Any] = {"labelcolor": theme.text, "facecolor": theme.background, "edgecolor": theme.grid}
    figure.legend(handles=lines, loc="outside lower center", ncols=4, fontsize=SMALL_FONT_SIZE, **colors)


def legend_line(name: str, color: str, width: float, linestyle: str = "-") -> Rectangle:
    """Return the outline of a box for a legend."""
    style: dict[str, Any] = {"facecolor": "none", "edgecolor": color, "linewidth": width, "linestyle": linestyle}
    return Rectangle((0, 0), 1, 1, label=name, **style)
