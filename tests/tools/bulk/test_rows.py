import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssd.inference.detections import Detections
from ssd.tools.bulk.rows import Counts, Failure, count_rows, write_json_lines, write_parquet

CLASSES = ("__background__", "cat", "große Katze")
ODD = "caf\udce9.jpg"  # as os.fsdecode reads the byte E9


def make_detections(num: int, name: str, index: int) -> Detections:
    generator = np.random.default_rng(num)
    boxes, labels = generator.uniform(-10, 600, (num, 4)).astype(np.float32), generator.integers(1, 3, num)
    scores = np.sort(generator.random(num).astype(np.float32))[::-1]
    source: dict[str, Any] = {"orig_size": (640, 480), "name": name, "path": Path(name), "index": index}
    return Detections(boxes=boxes, labels=labels, scores=scores, class_names=CLASSES, **source)


ROWS: list[Any] = [
    make_detections(5, "a b.jpg", 3),
    Failure("http://host/ä.jpg", None, 4, "http://host/ä.jpg: not an image"),
    make_detections(0, ODD, 5),
    Failure(ODD, Path(ODD), 6, f"{ODD}: the file is empty"),
]


def test_json_lines_are_those_of_detections_and_errors() -> None:
    file = io.BytesIO()
    write_json_lines(ROWS, CLASSES, file)
    full, failed, empty, odd = map(json.loads, file.getvalue().decode().splitlines())
    for line, detections in ((full, ROWS[0]), (empty, ROWS[2])):
        assert line == {**json.loads(detections.to_json()), "error": None}
    known = {"name": "http://host/ä.jpg", "index": 4, "objects": [], "error": "http://host/ä.jpg: not an image"}
    assert failed == {**dict.fromkeys(full), **known}
    assert list(failed) == list(full)
    assert (odd["name"], odd["path"], odd["error"]) == (ODD, ODD, f"{ODD}: the file is empty")


def test_parquet_has_the_same_bits() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    write_parquet(ROWS, CLASSES, file)
    table = parquet.read_table(io.BytesIO(file.getvalue()))
    assert json.loads(table.schema.metadata[b"class_names"]) == list(CLASSES)
    full, failed, empty, odd = table.to_pylist()
    for row, detections in ((full, ROWS[0]), (empty, ROWS[2])):
        assert np.array_equal(np.array(row["boxes"], np.float32).reshape(-1, 4), detections.boxes)
        assert np.array_equal(np.array(row["scores"], np.float32), detections.scores)
        assert (row["labels"], row["names"]) == (detections.labels.tolist(), detections.names)
        assert (row["width"], row["height"], row["index"]) == (640, 480, detections.index)
        assert row["error"] is None
    assert (full["file"], empty["file"]) == ("a b.jpg", "caf\\udce9.jpg")
    assert failed == {
        **{"file": "http://host/ä.jpg", "index": 4, "width": None, "height": None},
        **{"boxes": [], "labels": [], "names": [], "scores": [], "error": "http://host/ä.jpg: not an image"},
    }
    assert odd["error"] == "caf\\udce9.jpg: the file is empty"


def test_parquet_has_one_schema_for_all_rows() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")

    def schema_of(rows: list[Any]):
        file = io.BytesIO()
        write_parquet(rows, CLASSES, file)
        return parquet.read_schema(io.BytesIO(file.getvalue()))

    assert all(schema_of(ROWS).equals(schema_of([row]), check_metadata=True) for row in ROWS[1:3])


def test_counts() -> None:
    names = Counter(ROWS[0].names)
    counts = count_rows(ROWS)
    assert counts == Counts(4, [ROWS[1].error, ROWS[3].error], names)
    counts.add(**vars(count_rows(ROWS[:1])))
    assert (counts.num_images, len(counts.failures), counts.detections) == (5, 2, names + names)


def test_counts_as_text() -> None:
    assert str(Counts(2)) == "2 images, 0 failed; 0 objects"
    failures = [f"{n}.jpg: empty" for n in range(12)]
    lines = str(Counts(100, failures, Counter({"cat": 2, "snow leopard": 105}))).splitlines()
    assert lines[:3] == ["100 images, 12 failed; 107 objects", "  105 snow leopard", "    2 cat"]
    assert [line for line in lines if "jpg" in line] == [f"  {failure}" for failure in failures[:10]]
    assert "2 more" in lines[-1]
