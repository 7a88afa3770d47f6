import io
import sys
import time

import numpy as np
import pytest

from ssd.inference.detections import Detections
from ssd.inference.progress import Progress, Summary
from ssd.utils.errors import ImageError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def make_detections(name: str, labels: tuple[int, ...] = ()) -> Detections:
    boxes, scores = np.zeros((len(labels), 4), np.float32), np.ones(len(labels), np.float32)
    class_names = ("__background__", "cat", "dog", "snow leopard")
    return Detections(boxes, np.array(labels, np.int64), scores, class_names, (64, 48), name)


def show_on_terminal(monkeypatch: pytest.MonkeyPatch, total: int | None, num_images: int) -> str:
    """Show the progress on a terminal; return its standard error."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(total) as progress:
        for number in range(num_images):
            progress.add(make_detections(f"{number}.jpg"))
    return terminal.getvalue()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its only item is the time."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_line_per_image(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with Progress(3) as progress:
        progress.add(make_detections("a.jpg", (2, 1, 2)))
        progress.add(make_detections("b.jpg"))
        progress.fail(ImageError("c.jpg: no image"))
        assert progress.speed() == "3 images in 0.0 s"
        clock[0] = 4.0
        assert progress.speed() == "3 images in 4.0 s, 0.8 images/s"
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        "(0001/0003) a.jpg: 2 dog, 1 cat",
        "(0002/0003) b.jpg: nothing",
        "(0003/0003) failed: c.jpg: no image",
    ]
    assert not output.err


def test_a_terminal_has_lines_for_a_small_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not show_on_terminal(monkeypatch, 100, 100)
    assert len(capsys.readouterr().out.splitlines()) == 100


@pytest.mark.parametrize(("total", "shown"), [(101, "101/101"), (None, "101 images")])
def test_a_terminal_has_a_bar_for_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, total: int | None, shown: str
) -> None:
    last = show_on_terminal(monkeypatch, total, 101).split("\r")[-1]
    assert not capsys.readouterr().out
    assert shown in last
    assert "images/s" in last


@pytest.mark.parametrize("total", [5000, None])
def test_fewer_lines_after_the_first_hundred(
    capsys: pytest.CaptureFixture[str], clock: list[float], total: int | None
) -> None:
    with Progress(total) as progress:
        for number in range(1, 501):
            clock[0] = 0.1 * number
            progress.add(make_detections(f"{number}.jpg"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 104  # a hundred in the first 10 seconds, then one every 10 seconds of 40
    assert lines[101].partition(") ")[2] == "300.jpg: nothing (300 images in 30.0 s, 10.0 images/s, 0 failed)"


def test_summary() -> None:
    summary = Summary()
    assert summary.table().splitlines() == ["class  detections    images", "all             0         0"]
    for labels in ((2, 2, 1), (2,), (3,), ()):
        summary.add(make_detections("a.jpg", labels))
    assert summary.table().splitlines() == [
        "class         detections    images",
        "dog                    3         2",
        "cat                    1         1",
        "snow leopard           1         1",
        "all                    5         3",
    ]
