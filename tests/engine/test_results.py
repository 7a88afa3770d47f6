"""results.csv is complete at any time, and after a restart that of an unbroken run."""

import csv
import logging
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from ssd.engine.learning_curves import describe_curves, plot_learning_curves, read_curves, smooth, write_learning_curves
from ssd.engine.results import ResultsTable
from ssd.visualization.theme import figure_to_rgb


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def fill(table: ResultsTable, start: int, stop: int) -> None:
    for iteration in range(start + 2, stop + 1, 2):
        table.add(iteration, {"lr": 1e-3, "total_loss": 1 / iteration})
        if iteration % 4 == 0:
            table.add(iteration, {"cells, test/mAP": iteration / 100})


def test_the_file_is_whole_after_each_report(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    fill(ResultsTable(path), 0, 6)
    assert path.read_text() == (
        'iteration,lr,total_loss,"cells, test/mAP"\n2,0.001,0.5,\n4,0.001,0.25,0.04\n6,0.001,0.16666666666666666,\n'
    )
    table = ResultsTable(path)
    for iteration in (1, 2, 3):
        table.add(iteration, {"loss": math.nan})
        assert [row["iteration"] for row in read(path)] == [str(i) for i in range(1, iteration + 1)]
    table.add(3, {"loss": 2.0, "mAP": 0.5})
    assert [list(row.values()) for row in read(path)[1:]] == [["2", "nan", ""], ["3", "2.0", "0.5"]]


@pytest.mark.parametrize("completed", [0, 3, 4, 8])
@pytest.mark.parametrize("tail", ["", "14", "14,0.001,0.0", "14,0.001\n", "\n", "x,0.001,2.0,\n", "14,0.001,\x00"])
def test_a_continued_run_leaves_the_file_of_an_unbroken_one(tmp_path: Path, completed: int, tail: str) -> None:
    """Whatever a killed process wrote of its last row, and whatever was trained twice."""
    whole, broken = tmp_path / "whole.csv", tmp_path / "broken.csv"
    fill(ResultsTable(whole), 0, 12)
    fill(ResultsTable(broken), 0, 10)
    with open(broken, "a", encoding="utf-8") as file:
        file.write(tail)
    fill(ResultsTable(broken, completed), completed // 2 * 2, 12)
    assert broken.read_text() == whole.read_text()


def test_repeated_evaluations_and_new_runs_replace_old_rows(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    fill(ResultsTable(path), 0, 4)
    before = path.read_text()
    ResultsTable(path, 4).add(4, {"cells, test/mAP": 0.04})
    assert path.read_text() == before
    ResultsTable(path).add(1, {"lr": 0.5})
    assert path.read_text() == "iteration,lr\n1,0.5\n"


def test_another_file_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "results.csv"
    path.write_bytes(b"\xff\xfe what is this\n")
    ResultsTable(path, 5).add(7, {"lr": 0.5})
    assert str(path) in caplog.text
    assert path.read_text() == "iteration,lr\n7,0.5\n"


def test_a_failure_to_write_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="ssd")
    table = ResultsTable(tmp_path / "run" / "results.csv")
    table.path.parent.mkdir()
    fill(table, 0, 4)
    shutil.rmtree(table.path.parent)
    fill(table, 4, 10)
    (message,) = caplog.messages
    assert str(table.path) in message
    table.path.parent.mkdir()
    fill(table, 10, 12)  # with all rows, once it is possible
    assert [row["iteration"] for row in read(table.path)] == ["2", "4", "6", "8", "10", "12"]


@pytest.fixture
def table(tmp_path: Path) -> ResultsTable:
    """Two reports, the second with an evaluation."""
    table = ResultsTable(tmp_path / "results.csv")
    table.add(10, {"lr": 1e-3, "memory_mib": 900, "total_loss": 4.0})
    table.add(20, {"lr": 1e-3, "memory_mib": 900, "total_loss": 2.0})
    table.add(20, {"cells/mAP": 0.5, "cells/total_loss": 3.0, "cells/cat": 0.25})
    return table


def test_each_column_has_its_curve(table: ResultsTable) -> None:
    curves = [{name: (x.tolist(), y.tolist()) for name, (x, y) in series.items()} for series in read_curves(table)]
    assert curves == [
        {"total_loss": ([10, 20], [4.0, 2.0])},
        {"cells/total_loss": ([20], [3.0])},
        {"cells/mAP": ([20], [0.5])},
        {"lr": ([10, 20], [1e-3, 1e-3])},
    ]


def test_an_empty_table_has_no_picture(tmp_path: Path) -> None:
    write_learning_curves(ResultsTable(tmp_path / "results.csv"))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_to_draw_is_a_warning(table: ResultsTable, caplog: pytest.LogCaptureFixture) -> None:
    table.path.with_name("learning_curves.png").mkdir()
    with caplog.at_level(logging.WARNING, "ssd"):
        write_learning_curves(table)
    (message,) = caplog.messages
    assert str(table.path.with_name("learning_curves.png")) in message


def series(length: int, start: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(1, length + 1) * 10, start * 0.9 ** np.arange(length)


def draw(length: int, sets: tuple[str, ...]) -> Figure:
    losses = {name: series(length) for name in ("total_loss", "reg_loss", "cls_loss")}
    return plot_learning_curves(
        losses,
        {f"{name}/{loss}": values for name in sets for loss, values in losses.items()},
        {f"{name}/mAP": (series(length)[0], np.linspace(0.1, 0.6, length)) for name in sets},
        {"lr": series(length, 1e-3)},
    )


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]


@pytest.mark.parametrize("length", [1, 2, 100])
@pytest.mark.parametrize("sets", [(), ("cells", "a_name_of_more_letters_than_fit_$")])
def test_every_size_can_be_drawn(length: int, sets: tuple[str, ...]) -> None:
    figure = draw(length, sets)
    figure_to_rgb(figure, dpi=40)  # a warning, as of axes without room, is an error
    assert titles(figure) == ["total loss", "its parts", *(["metric"] if sets else []), "learning rate"]
    assert figure.axes[0].get_yscale() == ("log" if length == 100 else "linear")  # 0.9^99 is of several magnitudes
    for axes in figure.axes:
        assert not axes.get_visible() or axes.get_xlim() == pytest.approx((0, 10.2 * length))


def test_legends_and_colours() -> None:
    """A validation loss has the colour of its training loss."""
    figure = draw(3, ("cells", "_a_name_of_more_letters_than_fit"))
    boxes = [axes.get_legend() for axes in figure.axes]
    total, parts, metrics = ([text.get_text() for text in box.get_texts()] for box in boxes[:3])
    assert total == ["training", "cells", " _a_name_of_more_lette…"]
    assert parts[:2] == ["reg, training", "reg, cells"]
    assert metrics[0] == "mAP, cells: best 0.600 at 30"
    assert boxes[3] is None
    lines = {line.get_label(): line for line in figure.axes[1].get_lines()}
    for name in ("reg", "cls"):
        assert lines[f"{name}, cells"].get_color() == lines[f"{name}, training"].get_color()
        assert lines[f"{name}, cells"].get_marker() != lines[f"{name}, training"].get_marker()
    assert lines["reg, cells"].get_color() != lines["cls, cells"].get_color()
    nothing = (np.array([10, 20]), np.array([np.nan, np.nan]))
    figure = plot_learning_curves({"total_loss": series(2)}, {}, {"cells/mAP": nothing}, {"lr": series(2)})
    assert titles(figure) == ["total loss", "learning rate"]


def test_smoothing() -> None:
    assert smooth(np.array([3.0, 5.0]), 1).tolist() == [3, 5]
    assert smooth(np.array([0.0, 3.0, 6.0, 0.0]), 3).tolist() == [1.5, 3, 3, 3]
    assert smooth(np.array([1.0, np.nan, 3.0, np.inf]), 3).tolist() == [1, 2, 3, 3]
    assert smooth(np.zeros(0), 5).tolist() == []


def test_the_sentence_below_the_curves() -> None:
    steps = np.array([10, 20, 30])
    losses = {"total_loss": (steps, np.array([3.0, 1.0, 0.5]))}
    rising, falling = ({"cells/mAP": (steps, np.array(values))} for values in ([0.1, 0.2, 0.3], [0.1, 0.4, 0.3]))
    assert describe_curves(losses, {}, rising) == "mAP, cells was best at the end: more iterations may help."
    assert "iteration 20" in describe_curves(losses, {}, falling)
    assert describe_curves(losses, {"cells/total_loss": losses["total_loss"]}, {}) == ""
    assert "(overfitting)" in describe_curves(losses, {"cells/total_loss": (steps, np.array([3.0, 2.0, 1.9]))}, {})
