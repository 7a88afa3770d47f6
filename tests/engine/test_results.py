"""results.csv is complete at any time, and after a restart that of an unbroken run."""

import csv
import logging
import math
import shutil
from pathlib import Path

import pytest

from ssd.engine.results import ResultsTable


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def fill(table: ResultsTable, start: int, stop: int) -> None:
    for iteration in range(start + 2, stop + 1, 2):
        table.add(iteration, {"lr": 1e-3, "total_loss": 1 / iteration})
        if iteration % 4 == 0:
            table.add(iteration, {"cells, test/mAP": iteration / 100})


def test_a_row_an_iteration(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    fill(ResultsTable(path), 0, 6)
    assert path.read_text() == (
        'iteration,lr,total_loss,"cells, test/mAP"\n2,0.001,0.5,\n4,0.001,0.25,0.04\n6,0.001,0.16666666666666666,\n'
    )
    assert float(read(path)[2]["total_loss"]) == 1 / 6


def test_the_file_is_whole_after_each_report(tmp_path: Path) -> None:
    table = ResultsTable(tmp_path / "results.csv")
    assert not table.path.exists()
    for iteration in (1, 2, 3):
        table.add(iteration, {"loss": math.nan})
        assert [row["iteration"] for row in read(table.path)] == [str(i) for i in range(1, iteration + 1)]
    table.add(3, {"loss": 2.0, "mAP": 0.5})
    assert read(table.path)[1:] == [
        {"iteration": "2", "loss": "nan", "mAP": ""},
        {"iteration": "3", "loss": "2.0", "mAP": "0.5"},
    ]


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


def test_an_evaluation_that_is_done_again_replaces_the_first(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    fill(ResultsTable(path), 0, 4)
    before = path.read_text()
    ResultsTable(path, 4).add(4, {"cells, test/mAP": 0.04})
    assert path.read_text() == before


def test_a_new_run_takes_no_columns_of_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    fill(ResultsTable(path), 0, 4)
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
