"""The pictures of a table of results."""

import logging
from pathlib import Path

import pytest

from ssd.engine.curves import read_curves, write_learning_curves
from ssd.engine.results_table import ResultsTable


@pytest.fixture
def table(tmp_path: Path) -> ResultsTable:
    """Two reports, the second with an evaluation."""
    table = ResultsTable(tmp_path / "results.csv")
    table.add(10, {"lr": 1e-3, "memory_mib": 900, "total_loss": 4.0})
    table.add(20, {"lr": 1e-3, "memory_mib": 900, "total_loss": 2.0})
    table.add(20, {"cells/mAP": 0.5, "cells/total_loss": 3.0, "cells/cat": 0.25})
    return table


def test_each_column_has_its_curve(table: ResultsTable) -> None:
    losses, validation, metrics, rate = read_curves(table)
    found = {
        name: (x.tolist(), y.tolist())
        for series in (losses, validation, metrics, rate)
        for name, (x, y) in series.items()
    }
    assert found["total_loss"] == ([10, 20], [4.0, 2.0])
    assert found["lr"] == ([10, 20], [1e-3, 1e-3])
    assert [list(series) for series in (losses, validation, metrics, rate)] == [
        *(["total_loss"], ["cells/total_loss"], ["cells/mAP"], ["lr"])
    ]
    assert found["cells/mAP"] == ([20], [0.5])


def test_no_row_makes_no_picture(tmp_path: Path) -> None:
    write_learning_curves(ResultsTable(tmp_path / "results.csv"))
    assert list(tmp_path.iterdir()) == []


def test_pictures_that_cannot_be_written_are_warned_of(table: ResultsTable, caplog: pytest.LogCaptureFixture) -> None:
    table.path.with_name("learning_curves.png").mkdir()
    with caplog.at_level(logging.WARNING, "ssd"):
        write_learning_curves(table)
    (message,) = caplog.messages
    assert message.startswith("The learning curves cannot be written: ")
    assert str(table.path.with_name("learning_curves.png")) in message
