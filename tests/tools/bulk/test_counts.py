from pathlib import Path

import numpy as np

from ssd.inference.detections import Detections
from ssd.tools.bulk.counts import Counts, add_up, count_rows, format_counts
from ssd.tools.bulk.rows import Failure


def test_rows_are_counted() -> None:
    found = Detections(
        boxes=np.zeros((3, 4), np.float32),
        labels=np.array([2, 1, 2]),
        scores=np.array([0.9, 0.8, 0.7], np.float32),
        class_names=("__background__", "cat", "dog"),
        orig_size=(8, 8),
    )
    failure = Failure("a.jpg", Path("a.jpg"), 1, "a.jpg: not an image")
    assert count_rows([found, failure, found]) == Counts(3, ["a.jpg: not an image"], {"dog": 4, "cat": 2})
    assert count_rows([]) == Counts()


def test_counts_add_up_and_leave_what_was_added() -> None:
    parts = [Counts(3, ["x"], {"cat": 2}), Counts(), Counts(4, ["y", "z"], {"cat": 1, "dog": 5})]
    assert add_up(parts) == Counts(7, ["x", "y", "z"], {"dog": 5, "cat": 3})
    assert parts[0] == Counts(3, ["x"], {"cat": 2})


def test_counts_as_text() -> None:
    assert format_counts(Counts(2)) == "2 images, 0 failed; 0 objects"
    text = format_counts(Counts(100, [f"{n}.jpg: empty" for n in range(12)], {"snow leopard": 105, "cat": 2}))
    lines = text.splitlines()
    assert lines[:5] == [
        "100 images, 12 failed; 107 objects",
        "  105 snow leopard",
        "    2 cat",
        "Failed:",
        "  0.jpg: empty",
    ]
    assert lines[-2:] == ["  9.jpg: empty", "  and 2 more: all of them have an error in their part"]
