"""What a job writes about each image, and the formats of that: JSON lines and Parquet."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ssd.inference.detections import Detections
from ssd.utils.errors import import_extra


@dataclass(frozen=True)
class Failure:
    """An image that cannot be read.

    Attributes:
        name: see ``Detections``.
        path: likewise.
        index: likewise.
        error: why, for people; names the image too.
    """

    name: str
    path: Path | None
    index: int
    error: str


Row = Detections | Failure
Writer = Callable[[Sequence[Row], Sequence[str], BinaryIO], None]


def write_json_lines(rows: Sequence[Row], class_names: Sequence[str], file: BinaryIO) -> None:
    """Write one line of JSON an image: that of ``Detections.to_json``, and ``error``, which is null.

    Of an image that cannot be read, ``error`` says why, there are no objects, and width and height are null.

    Args:
        rows: of the images.
        class_names: not needed, since each object has the name of its class.
        file: gets UTF-8; a file name that is no valid Unicode becomes an escape of JSON.
    """
    for row in rows:
        text = _failure_to_json(row) if isinstance(row, Failure) else f'{row.to_json()[:-1]}, "error": null}}'
        file.write(f"{text}\n".encode(errors="backslashreplace"))


def _failure_to_json(row: Failure) -> str:
    known = {"name": row.name, "path": str(row.path) if row.path else None, "index": row.index}
    unknown: dict[str, Any] = {"width": None, "height": None, "video": None, "objects": []}
    return json.dumps({**known, **unknown, "error": row.error}, ensure_ascii=False)


def write_parquet(rows: Sequence[Row], class_names: Sequence[str], file: BinaryIO) -> None:
    """Write a Parquet table with a row an image; see ``_columns``.

    Args:
        rows: of the images.
        class_names: index = label; kept as JSON in the metadata of the schema.
        file: gets the table.

    Raises:
        MissingPackageError: pyarrow is not installed.
    """
    arrow, parquet = import_extra("pyarrow", "parquet"), import_extra("pyarrow.parquet", "parquet")
    types = {
        "file": arrow.string(),
        "index": arrow.int64(),
        "width": arrow.int32(),
        "height": arrow.int32(),
        "boxes": arrow.list_(arrow.list_(arrow.float32())),
        "labels": arrow.list_(arrow.int64()),
        "names": arrow.list_(arrow.string()),
        "scores": arrow.list_(arrow.float32()),
        "error": arrow.string(),
    }
    schema = arrow.schema(types, metadata={"class_names": json.dumps(list(class_names))})
    parquet.write_table(arrow.Table.from_pylist([_columns(row) for row in rows], schema=schema), file)


def _columns(row: Row) -> dict[str, Any]:
    """The columns of an image: what ``Detections`` calls so; ``file`` is its name."""
    if isinstance(row, Failure):
        empty: dict[str, Any] = {name: [] for name in ("boxes", "labels", "names", "scores")}
        return {"file": _valid(row.name), "index": row.index, **empty, "error": _valid(row.error)}
    return {
        "file": _valid(row.name),
        "index": row.index,
        "width": row.orig_size[0],
        "height": row.orig_size[1],
        "boxes": row.boxes.tolist(),
        "labels": row.labels.tolist(),
        "names": row.names,
        "scores": row.scores.tolist(),
    }


def _valid(text: str) -> str:
    """Text that UTF-8 can hold: a file name need not be valid Unicode, and bytes that are not become escapes."""
    return text.encode(errors="backslashreplace").decode()


FORMATS: dict[str, Writer] = {"jsonl": write_json_lines, "parquet": write_parquet}  # by the suffix of the files
