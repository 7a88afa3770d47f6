"""Pictures of the course of a training."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from ssd.visualization.theme import LIGHT, WIDE, add_legend, make_figure, series_style

_ROW_HEIGHT = 3.0  # inches
_LEGEND_LINE = 0.2
_WINDOW = 1 / 20  # of the points, over which curves are smoothed
_LOG_RATIO = 8  # of the largest loss to the least, from which the axis is logarithmic
_MARKS = 12  # on a line
_MAX_NAME = 22  # letters; labels of more stand below one another
_FEW = 2  # points, which are no line

Series = Mapping[str, tuple[np.ndarray, np.ndarray]]  # iterations (N,) and values (N,) by name


def plot_learning_curves(losses: Series, validation_losses: Series, metrics: Series, rates: Series) -> Figure:
    """Draw losses, metrics and learning rate over the iterations.

    Args:
        losses: of training steps: "total_loss" and its parts; drawn as they are, pale, and smoothed.
        validation_losses: by "<dataset>/<name of the loss>", in the colour of that loss.
        metrics: by "<dataset>/<metric>", from 0 to 1. Without any there is no such panel.
        rates: the learning rate.
    """
    total = {name: series for name, series in losses.items() if name == "total_loss"}
    parts = {name: series for name, series in losses.items() if name not in total}
    metrics = {name: series for name, series in metrics.items() if np.isfinite(series[1]).any()}
    num_lines = max(len(losses) + len(validation_losses), len(metrics))
    height = _ROW_HEIGHT + _LEGEND_LINE * (num_lines / 2 + 1)
    figure, grid = make_figure(LIGHT, width=WIDE, height=2 * height, rows=2, columns=2)
    panels = list(grid.flat)
    _draw_losses(panels.pop(0), "total loss", total, validation_losses)
    if parts:
        _draw_losses(panels.pop(0), "its parts", parts, validation_losses)
    if metrics:
        _draw_metrics(panels.pop(0), metrics)
    _draw_rates(panels.pop(0), rates)
    for axes in panels:
        axes.set_visible(False)
    last = max(
        (iterations[-1] for iterations, _ in [*losses.values(), *metrics.values()] if len(iterations)), default=1
    )
    for axes in grid.flat:
        axes.set_xlim(0, 1.02 * last)
    return figure


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Return the mean (N,) of the ``window`` values around each, fewer at the ends; without those not finite."""
    if window == 1 or not len(values):
        return values
    is_finite = np.isfinite(values)
    counts = _window_sums(is_finite.astype(np.float64), window)
    sums = _window_sums(np.where(is_finite, values, 0.0), window)
    return np.where(counts > 0.5, sums / np.maximum(counts, 1), np.nan)


def _window_sums(values: np.ndarray, window: int) -> np.ndarray:
    half = window // 2
    return np.convolve(np.pad(values, (half, window - 1 - half)), np.ones(window), mode="valid")


def _draw_losses(axes: Axes, title: str, losses: Series, validation_losses: Series) -> None:
    drawn = []
    for index, (name, (iterations, values)) in enumerate(losses.items()):
        style = {**series_style(index, LIGHT), "marker": "" if len(values) > _FEW else "o"}
        axes.plot(iterations, values, color=style["color"], linewidth=0.8, alpha=0.3)
        window = max(1, round(len(values) * _WINDOW))
        axes.plot(iterations, smooth(values, window), label=_words(name), **style)
        measured = {key: series for key, series in validation_losses.items() if key.rpartition("/")[2] == name}
        for number, (key, (points, numbers)) in enumerate(measured.items(), start=1):
            style = {**_marked(number, len(numbers)), "color": style["color"]}
            axes.plot(points, numbers, label=_words(key), **style)
        drawn += [values, *(numbers for _, numbers in measured.values())]
    _scale(drawn, axes)
    _finish(axes, title)


def _draw_metrics(axes: Axes, metrics: Series) -> None:
    for index, (name, (iterations, values)) in enumerate(metrics.items()):
        best = int(np.nanargmax(values))
        label = f"{_words(name)}: best {values[best]:.3f} at {iterations[best]}"
        axes.plot(iterations, values, label=label, **_marked(index, len(values)))
    axes.set_ylim(0, 1.05 * max(float(np.nanmax(values)) for _, values in metrics.values()) or 1)
    _finish(axes, "metric")


def _draw_rates(axes: Axes, rates: Series) -> None:
    for index, (iterations, values) in enumerate(rates.values()):
        marker = "" if len(values) > _FEW else "o"
        axes.plot(iterations, values, **{**series_style(index, LIGHT), "marker": marker})
    axes.set_ylim(0, None)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _finish(axes, "learning rate")


def _marked(index: int, num_points: int) -> dict:
    return {**series_style(index, LIGHT), "markevery": max(1, num_points // _MARKS)}


def _words(name: str) -> str:
    """A column's name for people: "cells_test" of the total loss, "reg, cells_test", "mAP, cells_test"."""
    folder, _, last = name.rpartition("/")
    folder = folder or "training"
    folder = folder if len(folder) <= _MAX_NAME else f"{folder[: _MAX_NAME - 1]}…"
    first = "" if last == "total_loss" else f"{last.removesuffix('_loss')}, "
    words = f"{first}{folder}".replace("$", r"\$")
    return f" {words}" if words.startswith("_") else words  # such a name would be left out of the legend


def _scale(series: list[np.ndarray], axes: Axes) -> None:
    """A logarithmic axis where the values are positive and of several magnitudes."""
    values = np.concatenate([np.zeros(0), *series])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() / values.min() > _LOG_RATIO:
        axes.set_yscale("log")
        spread = math.log10(values.max() / values.min())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if spread < 2 else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left")
    axes.set_xlabel("iteration")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    labels = axes.get_legend_handles_labels()[1]
    if labels:
        columns = 2 if max(map(len, labels)) <= _MAX_NAME else 1
        legend = add_legend(axes, LIGHT, loc="upper left", bbox_to_anchor=(-0.05, -0.17), ncols=columns, handlelength=3)
        legend.set_frame_on(False)
