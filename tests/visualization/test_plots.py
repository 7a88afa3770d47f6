from functools import partial
from xml.etree import ElementTree

import numpy as np
import pytest

from ssd.visualization import plots
from ssd.visualization.theme import figure_to_svg

EMPTY = np.empty(0)


def texts(figure) -> list[str]:
    root = ElementTree.fromstring(figure_to_svg(figure))
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_classes_for_a_plot() -> None:
    ap = np.array([np.nan, 0.1, 0.9, np.nan, 0.5, 0.3])
    assert plots.pick_classes(ap, 4) == [2, 4, 5, 1]
    assert plots.pick_classes(ap, 3) == [2, 5, 1]


def test_names_of_any_letters() -> None:
    names = ["$\\alpha$ and $", "_hidden", "日本 \x07", "x" * 50]
    lines = {name: (np.array([0, 1]), np.array([1, 0])) for name in names}
    figure = plots.plot_lines(lines, ("x", "y"), colors=dict.fromkeys(names, "#123456"))
    assert {line.get_color() for line in figure.axes[0].lines} == {"#123456"}
    shown = texts(figure)
    assert {"$\\alpha$ and $", " _hidden", "日本 \ufffd", "x" * 19 + "…"} <= set(shown)


def test_a_confusion_matrix_writes_its_counts() -> None:
    matrix = np.array([[5, 1, 0], [0, 12000, 2], [3, 0, 0]])
    shown = texts(plots.plot_confusion(matrix, ["cat", "dog", "nothing there"], ["cat", "dog", "missed"]))
    assert sorted(set(shown) & {"5", "1", "0", "12k", "2", "3"}) == ["1", "12k", "2", "3", "5"]
    assert {"cat", "dog", "nothing there", "missed", "detected as", "is"} <= set(shown)
    many = np.eye(13, dtype=int) * 7
    names = [f"class {number}" for number in range(13)]
    assert "7" not in texts(plots.plot_confusion(many, names, names))  # no room


def test_bars_say_their_values() -> None:
    assert {"0.25", "no object"} <= set(texts(plots.plot_class_bars({"cat": 0.25, "dog": float("nan")}, "AP")))
    costs = {"class": 0.125, "both": float("nan"), "missed": -0.01}
    assert {"12.5", "0.0", "-1.0"} <= set(texts(plots.plot_costs(costs)))


@pytest.mark.parametrize(
    "draw",
    [
        partial(plots.plot_lines, {}, ("x", "y"), colors={}),
        partial(plots.plot_class_bars, {}, "AP"),
        partial(plots.plot_costs, {"class": float("nan")}),
        partial(plots.plot_confusion, np.zeros((1, 1), int), ["nothing there"], ["missed"]),
        partial(plots.plot_sizes, EMPTY, EMPTY.astype(bool)),
        partial(plots.plot_sizes, np.array([0.0]), np.array([True])),
        partial(plots.plot_lines, {plots.ALL_CLASSES: (EMPTY, EMPTY)}, ("x", "y"), colors={}, marked_x=0.5),
    ],
)
def test_nothing_to_show(draw) -> None:
    assert len(texts(draw())) > 2


def test_found_and_missed_objects_add_up() -> None:
    figure = plots.plot_sizes(np.array([10.0, 10.5, 40.0, 200.0]), np.array([True, False, True, True]))
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    half = len(heights) // 2
    assert (sum(heights[:half]), sum(heights[half:])) == (3, 1)
