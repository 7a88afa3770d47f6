"""Learning curves of a training: learning_curves.svg and .png, drawn from results.csv."""

import logging
import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from ssd.engine.results import ResultsTable
from ssd.utils.errors import ImageError
from ssd.utils.files import write_text
from ssd.utils.image import write_image
from ssd.visualization.theme import (
    FONT_SIZE,
    LIGHT,
    WIDE,
    add_legend,
    figure_to_rgb,
    figure_to_svg,
    make_figure,
    series_style,
)

logger = logging.getLogger(__name__)

_DPI = 150
_MEASURES = {"iteration", "lr", "images_per_second", "memory_mib"}
_MAIN = ("mAP", "AP")  # of the metrics voc and coco, see ``EvaluationResult.main_name``
_ROW_HEIGHT = 3.0  # inches
_LEGEND_LINE = 0.2  # inches
_WINDOW = 1 / 20  # share of the points in the window of a smoothed curve
_LOG_RATIO = 8  # ratio of the largest to the smallest loss above which the axis is logarithmic
_MARKS = 12  # on a line
_MAX_NAME = 22  # letters; longer labels are in one column
_FEW = 2  # points, which get a marker
_OVERFIT = 2  # ratio of a validation loss to that of the training above which a word is said

Series = Mapping[str, tuple[np.ndarray, np.ndarray]]  # iterations (N,) and values (N,) by name


def write_learning_curves(table: ResultsTable) -> None:
    """Draw the curves of a table next to it, if it has rows; a failure to write is a warning."""
    if not table.rows:
        return
    figure = plot_learning_curves(*read_curves(table))
    path = table.path.with_name("learning_curves.svg")
    try:
        write_text(path, figure_to_svg(figure))
        write_image(figure_to_rgb(figure, _DPI), path.with_suffix(".png"))
    except (OSError, ImageError) as error:
        logger.warning("The learning curves cannot be written: %s", error)


def read_curves(table: ResultsTable) -> tuple[Series, Series, Series, Series]:
    """Return losses, validation losses, metrics and learning rate, the arguments of ``plot_learning_curves``."""
    losses = [name for name in table.columns if "/" not in name and name not in _MEASURES]
    evaluated = {name: name.rpartition("/")[2] for name in table.columns if "/" in name}
    validation_losses = [name for name, last in evaluated.items() if last in losses]
    metrics = [name for name, last in evaluated.items() if last in _MAIN]

    def series(name: str) -> tuple[np.ndarray, np.ndarray]:
        filled = [row for row in table.rows if name in row]
        return np.array([int(row["iteration"]) for row in filled]), np.array([float(row[name]) for row in filled])

    groups = ({name: series(name) for name in names} for names in (losses, validation_losses, metrics, ["lr"]))
    return tuple(groups)  # type: ignore[return-value]  # of length 4


def plot_learning_curves(losses: Series, validation_losses: Series, metrics: Series, rates: Series) -> Figure:
    """Plot losses, metrics and learning rate over the iterations, with a sentence on them below."""
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
    ends = [iterations[-1] for iterations, _ in [*losses.values(), *metrics.values()] if len(iterations)]
    for axes in grid.flat:
        axes.set_xlim(0, 1.02 * max(ends, default=1))
    figure.supxlabel(describe_curves(total, validation_losses, metrics), fontsize=FONT_SIZE, color=LIGHT.text)
    return figure


def describe_curves(losses: Series, validation_losses: Series, metrics: Series) -> str:
    """Say in a sentence or two whether the metric still rises, and whether the validation loss is far higher."""
    sentences = []
    for name, (iterations, values) in list(metrics.items())[:1]:
        best, label = int(np.nanargmax(values)), _label(name)
        if len(values) == 1:
            sentences.append(f"{label} was measured once; --eval-step measures it along the way.")
        elif best == len(values) - 1:
            sentences.append(f"{label} was best at the end: more iterations may help.")
        else:
            sentences.append(f"{label} was best at iteration {iterations[best]}, and has not risen since.")
    for name, (_, values) in losses.items():
        last = smooth(values, max(1, round(len(values) * _WINDOW)))[-1:]
        of_loss = [numbers for key, (_, numbers) in validation_losses.items() if key.rpartition("/")[2] == name]
        measured = [numbers[-1] for numbers in of_loss if len(numbers)]
        if len(last) and measured and measured[0] > _OVERFIT * last[0]:
            sentences.append(
                f"The loss on other images is {measured[0]:.2f}, in training {last[0]:.2f} (overfitting): "
                "more images or augmentation may help."
            )
    return "\n".join(sentences)


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Return the mean (N,) of the finite ones among the ``window`` values around each, fewer at the ends."""
    if window == 1 or not len(values):
        return values
    is_finite = np.isfinite(values)
    margin = (window // 2, window - 1 - window // 2)
    columns = (is_finite.astype(np.float64), np.where(is_finite, values, 0.0))
    counts, sums = (np.convolve(np.pad(column, margin), np.ones(window), mode="valid") for column in columns)
    return np.where(counts > 0.5, sums / np.maximum(counts, 1), np.nan)


def _draw_losses(axes: Axes, title: str, losses: Series, validation_losses: Series) -> None:
    drawn = []
    for index, (name, (iterations, values)) in enumerate(losses.items()):
        style = {**series_style(index, LIGHT), "marker": "" if len(values) > _FEW else "o"}
        axes.plot(iterations, values, color=style["color"], linewidth=0.8, alpha=0.3)
        window = max(1, round(len(values) * _WINDOW))
        axes.plot(iterations, smooth(values, window), label=_label(name), **style)
        evaluated = {key: series for key, series in validation_losses.items() if key.rpartition("/")[2] == name}
        for number, (key, (points, numbers)) in enumerate(evaluated.items(), start=1):
            axes.plot(points, numbers, label=_label(key), **{**_marked(number, len(numbers)), "color": style["color"]})
        drawn += [values, *(numbers for _, numbers in evaluated.values())]
    _scale(drawn, axes)
    _finish(axes, title)


def _draw_metrics(axes: Axes, metrics: Series) -> None:
    for index, (name, (iterations, values)) in enumerate(metrics.items()):
        best = int(np.nanargmax(values))
        label = f"{_label(name)}: best {values[best]:.3f} at {iterations[best]}"
        axes.plot(iterations, values, label=label, **_marked(index, len(values)))
    axes.set_ylim(0, 1.05 * max(float(np.nanmax(values)) for _, values in metrics.values()) or 1)
    axes.set_ylabel("mean average precision")
    _finish(axes, "metric")


def _draw_rates(axes: Axes, rates: Series) -> None:
    for index, (iterations, values) in enumerate(rates.values()):
        marker = "" if len(values) > _FEW else "o"
        axes.plot(iterations, values, **{**series_style(index, LIGHT), "marker": marker})
    axes.set_ylim(0, None)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("learning rate")
    _finish(axes, "learning rate")


def _marked(index: int, num_points: int) -> dict:
    return {**series_style(index, LIGHT), "markevery": max(1, num_points // _MARKS)}


def _label(name: str) -> str:
    """Label of a column: "cells_test" for the total loss, else such as "reg, cells_test" or "mAP, cells_test"."""
    folder, _, last = name.rpartition("/")
    folder = folder or "training"
    folder = folder if len(folder) <= _MAX_NAME else f"{folder[: _MAX_NAME - 1]}…"
    first = "" if last == "total_loss" else f"{last.removesuffix('_loss')}, "
    words = f"{first}{folder}".replace("$", r"\$")
    return f" {words}" if words.startswith("_") else words  # matplotlib leaves "_name" out of the legend


def _scale(series: list[np.ndarray], axes: Axes) -> None:
    """Set a logarithmic axis where the values are positive and differ much."""
    axes.set_ylabel("loss")
    values = np.concatenate([np.zeros(0), *series])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() / values.min() > _LOG_RATIO:
        axes.set_yscale("log")
        axes.set_ylabel("loss, logarithmic")
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
