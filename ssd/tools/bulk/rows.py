"""Rows of the images of a part, as JSON lines or Parquet, and their counts."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ssd.inference.detections import Detections
from ssd.utils.errors import import_extra

_MAX_SHOWN = 10  # failures in the summary


@dataclass(frozen=True)
class Failure:
    """An image that cannot be read; name, path and index as in ``Detections``."""

    name: str
    path: Path | None
    index: int
    error: str


Row = Detections | Failure


@dataclass
class Counts:
    """Numbers of images (with the failed ones) and of objects by class, and the reasons of failures."""

    num_images: int = 0
    failures: list[str] = field(default_factory=list)
    detections: Counter[str] = field(default_factory=Counter)

    def add(self, num_images: int, failures: Iterable[str], detections: dict[str, int]) -> None:
        """Add the fields of other counts."""
        self.num_images += num_images
        self.failures += failures
        self.detections.update(detections)

    def __str__(self) -> str:
        """Return lines: images, objects of each class, the most frequent first, and the first failures."""
        lines = [f"{self.num_images} images, {len(self.failures)} failed; {self.detections.total()} objects"]
        counts = self.detections.most_common()
        lines += [f"  {count:>{len(str(counts[0][1]))}} {name}" for name, count in counts]
        if self.failures:
            lines += ["Failed:", *(f"  {failure}" for failure in self.failures[:_MAX_SHOWN])]
        if len(self.failures) > _MAX_SHOWN:
            lines.append(f"  and {len(self.failures) - _MAX_SHOWN} more: see `error` of the rows")
        return "\n".join(lines)


def count_rows(rows: Sequence[Row]) -> Counts:
    """Count the rows of a part."""
    failures = [row.error for row in rows if isinstance(row, Failure)]
    names = Counter(name for row in rows if not isinstance(row, Failure) for name in row.names)
    return Counts(len(rows), failures, names)


def write_json_lines(rows: Sequence[Row], class_names: Sequence[str], file: BinaryIO) -> None:
    """Write one line per image: that of ``Detections.to_json``, and ``error`` (null, or why it cannot be read)."""
    for row in rows:
        if isinstance(row, Failure):
            known = {"name": row.name, "path": str(row.path) if row.path else None, "index": row.index}
            unknown: dict[str, Any] = {"time": None, "width": None, "height": None, "video": None, "objects": []}
            text = json.dumps({**known, **unknown, "error": row.error}, ensure_ascii=False)
        else:
            text = f'{row.to_json()[:-1]}, "error": null}}'
        file.write(f"{text}\n".encode(errors="backslashreplace"))  # file names need not be valid Unicode


def write_parquet(rows: Sequence[Row], class_names: Sequence[str], file: BinaryIO) -> None:
    """Write a table with one row per image, and ``class_names`` as JSON in the metadata of its schema."""
    arrow, parquet = import_extra("pyarrow", "parquet"), import_extra("pyarrow.parquet", "parquet")
    types = {
        **{"file": arrow.string(), "index": arrow.int64(), "width": arrow.int32(), "height": arrow.int32()},
        **{"boxes": arrow.list_(arrow.list_(arrow.float32())), "labels": arrow.list_(arrow.int64())},
        **{"names": arrow.list_(arrow.string()), "scores": arrow.list_(arrow.float32()), "error": arrow.string()},
    }
    schema = arrow.schema(types, metadata={"class_names": json.dumps(list(class_names))})
    parquet.write_table(arrow.Table.from_pylist([_to_columns(row) for row in rows], schema=schema), file)


def _to_columns(row: Row) -> dict[str, Any]:
    columns: dict[str, Any] = {"file": _valid(row.name), "index": row.index}
    if isinstance(row, Failure):
        return columns | {"boxes": [], "labels": [], "names": [], "scores": [], "error": _valid(row.error)}
    arrays = {name: getattr(row, name).tolist() for name in ("boxes", "labels", "scores")}
    return columns | {"width": row.orig_size[0], "height": row.orig_size[1], "names": row.names, **arrays}


def _valid(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


FORMATS = {"jsonl": write_json_lines, "parquet": write_parquet}  # suffix of a part -> its writer
