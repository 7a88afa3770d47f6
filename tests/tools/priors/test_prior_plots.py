"""The pictures of priors: what they show, and that nothing is written over anything."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from ssd.tools.priors.prior_plots import plot_best_iou, plot_class_recall, plot_levels, plot_recall, plot_shapes
from ssd.visualization.theme import DARK, LIGHT, Theme


def extents(figure: Figure) -> tuple[Bbox, list[tuple[str, Bbox]]]:
    """The figure's box, and those of all texts that it shows, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = []
    for axes in figure.axes:
        labels = [axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            labels += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        legend = axes.get_legend()
        labels += legend.get_texts() if legend else []
        texts += [text for text in labels if text.get_text() and text.get_visible()]
    return figure.bbox, [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in texts]


def check_texts(figure: Figure) -> None:
    outer, texts = extents(figure)
    assert texts
    for number, (name, box) in enumerate(texts):
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= outer.x1 + 1 and box.y1 <= outer.y1 + 1, name  # noqa: PT018
        for other, second in texts[number + 1 :]:
            overlap = Bbox.intersection(box, second)
            assert overlap is None or min(overlap.width, overlap.height) < 2, (name, other)


@pytest.mark.parametrize(("num_classes", "theme"), [(3, DARK), (80, LIGHT)])
def test_classes(num_classes: int, theme: Theme) -> None:
    rows = [(f"traffic light {number}", 1000 + number, number / num_classes) for number in range(num_classes)]
    figure = plot_class_recall(rows, theme)
    check_texts(figure)
    assert len(figure.axes[0].patches) == min(num_classes, 40)
    title = figure.axes[0].get_title(loc="left")
    assert ("40 of 80" in title) == (num_classes == 80)


def test_recall_has_a_column_a_part() -> None:
    rows = [("below 11", 1200, 0.0), ("11 to 16", 34000, 0.5), ("16 or more", 3, 1.0)]
    figure = plot_recall({"side, pixels (objects)": rows, "width : height (objects)": rows[:2]})
    check_texts(figure)
    assert [len(axes.patches) for axes in figure.axes] == [3, 2]


def test_legends_are_no_part_of_the_data() -> None:
    rng = np.random.default_rng(0)
    figures = [
        plot_best_iou({"training images": rng.random(99), "augmented samples": np.full(50, 0.1)}, 0.5),
        plot_levels([("20x20", "stride 16")] * 6, {"objects, by best prior": [0.9] * 6, "positives": [1] * 6}),
    ]
    for figure in figures:
        check_texts(figure)
        (axes,) = figure.axes
        legend = axes.get_legend()
        assert legend is not None
        assert legend.get_window_extent().y0 >= axes.get_window_extent().y1 - 1


def test_shapes_lie_inside_and_are_named() -> None:
    shapes = [[(30.0, 30.0), (60.0, 15.0)], [(100.0, 100.0)]]
    figure = plot_shapes(np.array([[4.0, 9.0], [120.0, 90.0]]), np.array([False, True]), shapes, (96, 128))
    check_texts(figure)
    (axes,) = figure.axes
    assert axes.get_xlim()[0] < 4 < 120 < axes.get_xlim()[1]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "object reached",
        "object not reached",
        "priors, level 1",
        "priors, level 2",
    ]
