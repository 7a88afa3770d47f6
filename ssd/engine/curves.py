"""OUTPUT_DIR/learning_curves.svg and .png, from the table of results."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from ssd.engine.results_table import ResultsTable
from ssd.utils.errors import ImageError
from ssd.utils.image import write_image

logger = logging.getLogger(__name__)

_DPI = 150
_MEASURES = {"iteration", "lr", "images_per_second", "memory_mib"}
_MAIN = ("mAP", "AP")  # of the metrics voc and coco, see ``EvaluationResult.main_name``

Series = dict[str, tuple[np.ndarray, np.ndarray]]  # iterations (N,) and values (N,) by name


def write_learning_curves(table: ResultsTable) -> None:
    """Draw the losses, the learning rate and the metrics of a table beside it; nothing where it has no row.

    A picture that cannot be written is only warned of.
    """
    if not table.rows:
        return
    from ssd.engine.training_plots import plot_learning_curves
    from ssd.visualization.theme import figure_to_rgb, figure_to_svg  # matplotlib is slow to import

    figure = plot_learning_curves(*read_curves(table))
    path = table.path.with_name("learning_curves.svg")
    try:
        path.write_text(figure_to_svg(figure), encoding="utf-8")
        write_image(figure_to_rgb(figure, _DPI), path.with_suffix(".png"))
    except (OSError, ImageError) as error:
        logger.warning("The learning curves cannot be written: %s", error)


def read_curves(table: ResultsTable) -> tuple[Series, Series, Series, Series]:
    """Return what ``plot_learning_curves`` draws: losses, validation losses, metrics and learning rate."""
    own = [name for name in table.columns if "/" not in name and name not in _MEASURES]
    measured = [name for name in table.columns if "/" in name]
    return (
        _read(table, own),
        _read(table, [name for name in measured if name.rpartition("/")[2] in own]),
        _read(table, [name for name in measured if name.rpartition("/")[2] in _MAIN]),
        _read(table, ["lr"]),
    )


def _read(table: ResultsTable, columns: Sequence[str]) -> Series:
    return {name: _series(table.rows, name) for name in columns}


def _series(rows: Sequence[Mapping[str, str]], name: str) -> tuple[np.ndarray, np.ndarray]:
    filled = [row for row in rows if name in row]
    return np.array([int(row["iteration"]) for row in filled]), np.array([float(row[name]) for row in filled])
