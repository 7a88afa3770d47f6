"""The pictures of a report on priors."""

from matplotlib.figure import Figure

from ssd.tools.priors.groups import Group
from ssd.tools.priors.layout import Layout
from ssd.tools.priors.measure import Coverage
from ssd.tools.priors.prior_plots import (
    Rows,
    plot_best_iou,
    plot_class_recall,
    plot_levels,
    plot_recall,
    plot_shapes,
)
from ssd.tools.priors.report import PriorReport

_NAMES = {"data": "training images", "augmented": "augmented samples"}


def draw_pictures(report: PriorReport, layout: Layout, coverages: dict[str, Coverage]) -> dict[str, Figure]:
    """Return the pictures by the stem of their file's name."""
    data, coverage = report.parts["data"], coverages["data"]
    ticks = [
        (f"{level.feature_map[1]}×{level.feature_map[0]}", f"stride {level.stride:.0f}") for level in report.levels
    ]
    shares = {
        "objects, by best prior": [level.best["data"] for level in report.levels],
        "positives": [level.positives["data"] for level in report.levels],
        "positives, augmented": [level.positives["augmented"] for level in report.levels],
    }
    series = {_NAMES[name]: found.best_iou.numpy() for name, found in coverages.items()}
    sides = {"side, pixels (objects)": _rows(data.by_size), "width : height (objects)": _rows(data.by_aspect)}
    return {
        "best_iou": plot_best_iou(series, report.iou_threshold),
        "recall": plot_recall(sides),
        "classes": plot_class_recall(_rows(data.by_class)),
        "shapes": plot_shapes(coverage.sizes.numpy(), coverage.is_reached.numpy(), layout.shapes, layout.image_size),
        "levels": plot_levels(ticks, shares),
    }


def _rows(groups: list[Group]) -> Rows:
    return [(group.name, group.num_objects, group.recall) for group in groups]
