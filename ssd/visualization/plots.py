"""Plots of an evaluation, readable without colour by line style, marker, hatching or number."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ssd.visualization.theme import (
    HEIGHT,
    LIGHT,
    SMALL_FONT_SIZE,
    WIDTH,
    Theme,
    add_legend,
    bar_style,
    make_figure,
    series_style,
)

ALL_CLASSES = "all classes"
MAX_LINES, MAX_BARS, MAX_CONFUSED = 8, 24, 20  # classes in a plot
_ROW = 0.26  # inches of a row of bars
_MAX_NAME = 20  # letters
_MAX_WRITTEN = 12  # rows of a confusion matrix whose cells have room for numbers


def pick_classes(values: np.ndarray, count: int) -> list[int]:
    """Return the labels of the highest and the lowest of values (C,), half of each, without the background and nan."""
    known = [label for label in np.argsort(-values, kind="stable").tolist() if label and not math.isnan(values[label])]
    return known if len(known) <= count else known[: count // 2] + known[-(count - count // 2) :]


def plot_lines(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    labels: tuple[str, str],
    theme: Theme = LIGHT,
    *,
    colors: Mapping[str, str],
    marked_x: float | None = None,
) -> Figure:
    """Plot curves, x (N,) and y (N,) by name, from 0 to 1 on axes of two labels; ``marked_x`` is a vertical line.

    ``colors`` are those of classes by name; a thin edge makes pale ones visible.
    """
    rows = -(-len(lines) // 2)
    figure, grid = make_figure(theme, height=HEIGHT + 0.2 * rows)
    axes = grid[0, 0]
    handles = []
    for index, (name, (x, y)) in enumerate(lines.items()):
        style = {**series_style(index, theme), "markevery": (0.02 * index, 0.2)}
        if name == ALL_CLASSES:
            style = {"color": theme.text, "linewidth": 3}
        else:
            edge = withStroke(linewidth=style["linewidth"] + 0.8, foreground=theme.text)
            style |= {"color": colors[name], "path_effects": [edge]}
        handles += axes.plot(x, y, label=plain(name), **style)
    if marked_x is not None:
        axes.axvline(marked_x, color=theme.muted, linewidth=1)
    axes.set(xlabel=labels[0], ylabel=labels[1], xlim=(0, 1.01), ylim=(0, 1.02))
    if handles:
        legend = add_legend(axes, theme, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, handlelength=3.2)
        legend.set_frame_on(False)
    else:
        _write(axes, "nothing to find or nothing found", theme)
    return figure


def plot_class_bars(values: Mapping[str, float], label: str, theme: Theme = LIGHT) -> Figure:
    """Plot a bar from 0 to 1 for each class; nan is a class without objects."""
    figure, axes = _bars(list(values), theme)
    numbers = np.array(list(values.values()), dtype=np.float64)
    bars = axes.barh(range(len(values)), np.nan_to_num(numbers), height=0.72, **bar_style(0, theme))
    texts = ["no object" if np.isnan(value) else f"{value:.2f}" for value in numbers]
    axes.bar_label(bars, texts, padding=3, color=theme.text, fontsize=SMALL_FONT_SIZE)
    axes.set(xlabel=label, xlim=(0, 1.12))
    return figure


def plot_costs(costs: Mapping[str, float], theme: Theme = LIGHT) -> Figure:
    """Plot the AP that each kind of error costs."""
    figure, axes = _bars(list(costs), theme)
    values = np.nan_to_num(np.array(list(costs.values()), dtype=np.float64))
    for index, value in enumerate(values):
        bars = axes.barh([index], [value], height=0.72, **bar_style(index, theme))
        axes.bar_label(bars, [f"{100 * value:.1f}"], padding=3, color=theme.text, fontsize=SMALL_FONT_SIZE)
    most = max(float(values.max(initial=0)), 0.01)
    axes.set(xlabel="points lost, of 100", xlim=(min(0.0, 1.3 * float(values.min(initial=0))), 1.15 * most))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0 if most > 0.04 else 1, symbol=""))
    return figure


def plot_confusion(matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str], theme: Theme = LIGHT) -> Figure:
    """Plot counts (R, C) with the names of the rows and columns; shades are shares of the row."""
    side = 2.2 + 0.3 * len(rows) if len(rows) > _MAX_WRITTEN else 2.2 + 0.5 * len(rows)
    figure, grid = make_figure(theme, width=max(WIDTH, side + 0.6), height=max(HEIGHT, side - 0.4))
    axes = grid[0, 0]
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.pcolormesh(share, cmap=theme.colormap, vmin=0, vmax=1, edgecolors=theme.grid, linewidth=0.5)
    axes.grid(visible=False)
    axes.set(xlabel="detected as", ylabel="is", ylim=(len(rows), 0))
    axes.set_xticks(np.arange(len(columns)) + 0.5, [plain(name) for name in columns], rotation=45, ha="right")
    axes.set_yticks(np.arange(len(rows)) + 0.5, [plain(name) for name in rows])
    axes.tick_params(length=0)
    if len(rows) <= _MAX_WRITTEN:
        for (row, column), count in np.ndenumerate(matrix):
            _write_count(axes, (column, row), int(count), float(share[row, column]), theme)
    return figure


def plot_sizes(sides: np.ndarray, is_found: np.ndarray, theme: Theme = LIGHT) -> Figure:
    """Plot the numbers of found and missed objects (G,) by size; sides are of the square of equal area, in pixels."""
    figure, grid = make_figure(theme)
    axes = grid[0, 0]
    if not len(sides):
        _write(axes, "no object", theme)
        return figure
    low, high = np.log2(max(float(sides.min()), 1)), np.log2(max(float(sides.max()), 2))
    edges = 2 ** np.arange(np.floor(2 * low) / 2, np.floor(2 * high) / 2 + 0.6, 0.5)  # half octaves
    found, missed = (np.histogram(sides[chosen], edges)[0] for chosen in (is_found, ~is_found))
    options = {"width": np.diff(edges), "align": "edge"}
    axes.bar(edges[:-1], found, label="found", **options, **bar_style(0, theme))
    axes.bar(edges[:-1], missed, bottom=found, label="missed", **options, **bar_style(1, theme))
    ticks = 2.0 ** np.arange(np.floor(np.log2(edges[0])), np.ceil(np.log2(edges[-1])) + 0.5)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set(xlabel="side of the square of equal area, pixels", ylabel="objects", xlim=(edges[0], edges[-1]))
    axes.set_ylim(0, 1.28 * float((found + missed).max(initial=1)))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    add_legend(axes, theme, loc="upper left", ncols=2)
    return figure


def plain(name: str) -> str:
    """Return a name as a label: printable, short, and without the special meaning of "$" and a leading "_"."""
    name = "".join(letter if letter.isprintable() else "\ufffd" for letter in name)
    name = name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"
    name = f" {name}" if name.startswith("_") else name
    return name.replace("$", r"\$")


def _bars(names: Sequence[str], theme: Theme) -> tuple[Figure, Axes]:
    """Figure with a row for each name."""
    figure, grid = make_figure(theme, height=0.9 + _ROW * max(len(names), 3))
    axes = grid[0, 0]
    axes.grid(visible=False, axis="y")
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.set_ylim(max(len(names), 1) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _write_count(axes: Axes, cell: tuple[int, int], count: int, share: float, theme: Theme) -> None:
    """Write a count, unless 0, in black or white."""
    if count:
        red, green, blue, _ = theme.colormap(share)
        is_bright = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 > 0.18  # equal contrast to both
        color = "#000000" if is_bright else "#FFFFFF"
        text = str(count) if count < 10_000 else f"{count / 1000:.0f}k"
        axes.text(cell[0] + 0.5, cell[1] + 0.5, text, color=color, ha="center", va="center",
                  fontsize=SMALL_FONT_SIZE)  # fmt: skip


def _write(axes: Axes, text: str, theme: Theme) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=theme.muted)
