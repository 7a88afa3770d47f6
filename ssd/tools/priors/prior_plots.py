"""Pictures of how priors cover boxes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from ssd.visualization.theme import (
    FONT_SIZE,
    HEIGHT,
    LIGHT,
    MARKERS,
    SMALL_FONT_SIZE,
    WIDE,
    Theme,
    add_legend,
    bar_style,
    make_figure,
    series_style,
)

_BINS = 40
_MAX_POINTS = 3000
_ROW = 0.22  # inches of a row of bars
_MAX_ROWS = 40

Rows = Sequence[tuple[str, int, float]]  # name, number of objects, recall


def plot_best_iou(series: Mapping[str, np.ndarray], iou_threshold: float, theme: Theme = LIGHT) -> Figure:
    """Draw the share of objects against the IoU that their best prior reaches at least.

    Args:
        series: best IoU (N,) of every object, by what the line is called.
        iou_threshold: of a match, marked.
        theme: of the figure.
    """
    figure, grid = make_figure(theme)
    axes = grid[0, 0]
    for number, (name, values) in enumerate(series.items()):
        counts, edges = np.histogram(values, bins=_BINS, range=(0, 1))
        style = {**series_style(number, theme), "marker": ""}
        axes.stairs(counts / max(len(values), 1), edges, label=name, **_without_marker(style))
    axes.axvline(iou_threshold, color=theme.muted, linewidth=1)
    axes.annotate(
        f"match at {iou_threshold:g}",
        (iou_threshold, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-4, -2),
        textcoords="offset points",
        ha="right",
        va="top",
        color=theme.muted,
        fontsize=SMALL_FONT_SIZE,
    )
    axes.set(xlabel="IoU with the best prior", ylabel=f"objects in each {1 / _BINS:g}", xlim=(0, 1), ylim=(0, None))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _add_legend_above(axes, theme, columns=len(series))
    return figure


def plot_recall(parts: Mapping[str, Rows], theme: Theme = LIGHT) -> Figure:
    """Draw the share of objects that some prior reaches, by groups: one column of bars a part.

    Args:
        parts: by the title of the column: name, number and recall of every group, from top to bottom.
        theme: of the figure.
    """
    most = max(map(len, parts.values()))
    figure, grid = make_figure(theme, width=WIDE, height=1.1 + _ROW * 1.4 * most, columns=len(parts))
    for axes, (title, rows) in zip(grid[0], parts.items(), strict=True):
        _draw_rows(axes, rows, theme)
        axes.set_title(title, loc="left", fontsize=FONT_SIZE, color=theme.text)
    return figure


def plot_class_recall(rows: Rows, theme: Theme = LIGHT) -> Figure:
    """Draw the share of objects that some prior reaches by class; of more than 40 those with the least recall.

    Args:
        rows: name, number of objects and recall of every class, least recall first.
        theme: of the figure.
    """
    shown = rows[:_MAX_ROWS]
    figure, grid = make_figure(theme, width=WIDE / 1.5, height=1.1 + _ROW * max(len(shown), 4))
    _draw_rows(grid[0, 0], shown, theme)
    if len(rows) > len(shown):
        title = f"the {len(shown)} of {len(rows)} classes that are reached least"
        grid[0, 0].set_title(title, loc="left", fontsize=FONT_SIZE, color=theme.text)
    return figure


def plot_shapes(
    sizes: np.ndarray,
    is_reached: np.ndarray,
    shapes: Sequence[Sequence[tuple[float, float]]],
    image_size: tuple[int, int],
    theme: Theme = LIGHT,
) -> Figure:
    """Draw width against height of objects and of priors.

    Args:
        sizes: (N, 2) width and height in pixels; of more than 3000 objects as many are drawn.
        is_reached: (N,) bool, some prior overlaps the object enough.
        shapes: width and height in pixels of the priors of a cell, of each level.
        image_size: (height, width) of the network input in pixels.
        theme: of the figure.
    """
    figure, grid = make_figure(theme, width=WIDE / 1.4, height=WIDE / 1.9)
    axes = grid[0, 0]
    step = max(1, -(-len(sizes) // _MAX_POINTS))
    drawn, reached = sizes[::step], is_reached[::step]
    for mask, color, marker, name in (
        (reached, theme.series[6], ".", "object reached"),
        (~reached, theme.series[1], "x", "object not reached"),
    ):
        axes.plot(*drawn[mask].T, marker, color=color, markersize=4, alpha=0.55, label=name, rasterized=True)
    for level, priors in enumerate(shapes):
        marker = MARKERS[level % len(MARKERS)]
        options = {"markersize": 6.5, "markeredgecolor": theme.text, "markeredgewidth": 1.1, "linestyle": ""}
        axes.plot(*np.array(priors).T, marker, markerfacecolor="none", label=f"priors, level {level + 1}", **options)
    smallest = min(sizes.min(initial=np.inf), *(min(shape) for level in shapes for shape in level))
    largest = max(*image_size, *(max(shape) for level in shapes for shape in level))
    axes.set(xscale="log", yscale="log", xlabel="width, pixels of the network input", ylabel="height, pixels")
    axes.set(xlim=(smallest / 1.2, largest * 1.1), ylim=(smallest / 1.2, largest * 1.1))
    _label_octaves(axes, smallest / 1.2, largest * 1.1)
    legend = add_legend(axes, theme, loc="center left", bbox_to_anchor=(1.01, 0.5))
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    return figure


def plot_levels(
    levels: Sequence[tuple[str, str]], shares: Mapping[str, Sequence[float]], theme: Theme = LIGHT
) -> Figure:
    """Draw what each level has a share of.

    Args:
        levels: two lines of text under each.
        shares: of each level, by what the bars are called.
        theme: of the figure.
    """
    figure, grid = make_figure(theme, width=max(WIDE / 1.5, 1.1 * len(levels) + 0.8), height=HEIGHT)
    axes = grid[0, 0]
    width = 0.8 / len(shares)
    middle = np.arange(len(levels))
    for number, (name, values) in enumerate(shares.items()):
        left = middle + (number - (len(shares) - 1) / 2) * width
        axes.bar(left, values, width, label=name, **bar_style(number, theme))
    axes.set_xticks(middle, ["\n".join(lines) for lines in levels])
    axes.set_ylabel("share")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(False, axis="x")
    _add_legend_above(axes, theme, columns=len(shares))
    return figure


def _draw_rows(axes: Axes, rows: Rows, theme: Theme) -> None:
    """Horizontal bars from 0 to 100 %, each with its number of objects in the label."""
    positions = np.arange(len(rows))
    axes.barh(positions, [recall for _, _, recall in rows], 0.7, **bar_style(0, theme))
    for position, (_, _, recall) in zip(positions, rows, strict=True):
        axes.annotate(
            f"{recall:.0%}",
            (recall, position),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=theme.text,
            fontsize=SMALL_FONT_SIZE,
        )
    axes.set_yticks(positions, [f"{name} ({count})" for name, count, _ in rows])
    axes.set(xlim=(0, 1.15), ylim=(len(rows) - 0.4, -0.6), xlabel="objects that some prior reaches")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(False, axis="y")


def _add_legend_above(axes: Axes, theme: Theme, columns: int) -> None:
    """One row over the axes, where no line or bar can be."""
    add_legend(axes, theme, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, frameon=False)


def _label_octaves(axes: Axes, low: float, high: float) -> None:
    """Ticks at powers of two, as plain numbers."""
    ticks = 2.0 ** np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _without_marker(style: dict) -> dict:
    return {key: value for key, value in style.items() if not key.startswith("marker")}
