"""What a long job says of its pace."""

import logging

import pytest

from ssd.tools.bulk import work
from ssd.tools.bulk.work import Pace


def test_a_line_every_ten_seconds(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    monkeypatch.setattr(work.time, "monotonic", lambda: now)
    pace = Pace(60)
    with caplog.at_level(logging.INFO, "ssd"):
        for _ in range(50):
            now += 0.5
            pace.add(1)
    assert caplog.messages == [
        "20 images in 10.0 s, 2.0 images/s; 60 in all",
        "40 images in 20.0 s, 2.0 images/s; 60 in all",
    ]
    assert pace.num_done == 50
