"""Learning curves for short and long trainings, with and without evaluations."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from ssd.engine.training_plots import plot_learning_curves, smooth
from ssd.visualization.theme import figure_to_rgb


def series(length: int, start: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(1, length + 1) * 10, start * 0.9 ** np.arange(length)


def draw(length: int, sets: tuple[str, ...]) -> Figure:
    return plot_learning_curves(
        {name: series(length) for name in ("total_loss", "reg_loss", "cls_loss")},
        {f"{name}/{loss}": series(length) for name in sets for loss in ("total_loss", "reg_loss", "cls_loss")},
        {f"{name}/mAP": (series(length)[0], np.linspace(0.1, 0.6, length)) for name in sets},
        {"lr": series(length, 1e-3)},
    )


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]


def legend(figure: Figure, panel: int) -> list[str]:
    box = figure.axes[panel].get_legend()
    return [] if box is None else [text.get_text() for text in box.get_texts()]


@pytest.mark.parametrize("length", [1, 2, 100])
@pytest.mark.parametrize("sets", [(), ("cells",), ("cells", "a_name_of_more_letters_than_fit_$")])
def test_every_size_can_be_drawn(length: int, sets: tuple[str, ...]) -> None:
    figure = draw(length, sets)
    figure_to_rgb(figure, dpi=40)  # a warning, as of axes without room, is an error
    assert titles(figure) == ["total loss", "its parts", *(["metric"] if sets else []), "learning rate"]
    for axes in figure.axes:
        assert not axes.get_visible() or axes.get_xlim() == pytest.approx((0, 10.2 * length))


def test_the_legends() -> None:
    figure = draw(3, ("cells", "_a_name_of_more_letters_than_fit"))
    assert legend(figure, 0) == ["training", "cells", " _a_name_of_more_lette…"]
    assert legend(figure, 1)[:2] == ["reg, training", "reg, cells"]
    assert legend(figure, 2)[0] == "mAP, cells: best 0.600 at 30"
    assert legend(figure, 3) == []


def test_a_validation_loss_has_the_colour_of_its_loss() -> None:
    lines = {line.get_label(): line for line in draw(9, ("cells",)).axes[1].get_lines()}
    for name in ("reg", "cls"):
        assert lines[f"{name}, cells"].get_color() == lines[f"{name}, training"].get_color()
        assert lines[f"{name}, cells"].get_marker() != lines[f"{name}, training"].get_marker()
    assert lines["reg, cells"].get_color() != lines["cls, cells"].get_color()


def test_losses_of_several_magnitudes_have_a_logarithmic_axis() -> None:
    assert draw(100, ()).axes[0].get_yscale() == "log"
    assert draw(3, ()).axes[0].get_yscale() == "linear"


def test_metrics_that_could_not_be_measured_are_left_out() -> None:
    nothing = (np.array([10, 20]), np.array([np.nan, np.nan]))
    figure = plot_learning_curves({"total_loss": series(2)}, {}, {"cells/mAP": nothing}, {"lr": series(2)})
    assert titles(figure) == ["total loss", "learning rate"]
    figure = plot_learning_curves({}, {}, {"cells/mAP": (np.array([10]), np.array([0.5]))}, {})
    assert "metric" in titles(figure)


def test_smoothing() -> None:
    assert smooth(np.array([3.0, 5.0]), 1).tolist() == [3, 5]
    assert smooth(np.array([0.0, 3.0, 6.0, 0.0]), 3).tolist() == [1.5, 3, 3, 3]
    assert smooth(np.array([1.0, np.nan, 3.0, np.inf]), 3).tolist() == [1, 2, 3, 3]
    assert smooth(np.zeros(0), 5).tolist() == []
