import io
import sys
import time

import pytest

from ssd.inference.progress import Progress, Summary
from ssd.utils.errors import ImageError
from tests.inference.samples import make_detections


def of_labels(*labels: int) -> list[tuple[list[int], int, float]]:
    return [([0, 0, 1, 1], label, 1.0) for label in labels]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its only item is the time."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_line_per_image(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with Progress(3) as progress:
        progress.add(make_detections(of_labels(2, 1, 2), name="a.jpg"))
        progress.add(make_detections(name="b.jpg"))
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


@pytest.mark.parametrize(("total", "count", "bar"), [(100, 100, ""), (101, 101, "101/101"), (None, 101, "101 images")])
def test_a_terminal_has_a_bar_for_many_images(capsys, monkeypatch, total, count, bar):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(total) as progress:
        for number in range(count):
            progress.add(make_detections(name=f"{number}.jpg"))
    assert len(capsys.readouterr().out.splitlines()) == (0 if bar else 100)
    last = terminal.getvalue().split("\r")[-1]
    assert bar in last
    assert ("images/s" in last) == bool(bar)


def test_summary() -> None:
    summary = Summary()
    assert summary.table().splitlines() == ["class  detections    images", "all             0         0"]
    for labels in ((2, 2, 1), (2,), (3,), ()):
        summary.add(make_detections(of_labels(*labels)))
    assert summary.table().splitlines() == [
        "class         detections    images",
        "dog                    3         2",
        "cat                    1         1",
        "snow leopard           1         1",
        "all                    5         3",
    ]
