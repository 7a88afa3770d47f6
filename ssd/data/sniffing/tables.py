"""CSV tables of boxes."""

import csv
from itertools import islice
from pathlib import Path

from ssd.data.datasets.csv_columns import find_columns
from ssd.data.sniffing.annotation_files import find_annotation_files
from ssd.data.sniffing.layout import Layout
from ssd.utils.image import IMAGE_SUFFIXES

_ROWS = 20  # of which an image must be there


def find_csv(root: Path) -> Layout | None:
    """See ``find_layout``."""
    return find_annotation_files(root, "CSV", _first_files)


def _first_files(path: Path) -> list[str]:
    """The files that the first rows of a table name; none if its columns are not those of boxes."""
    if not path.name.lower().endswith(".csv"):
        return []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = [file.readline(10_000) for _ in range(_ROWS)]
    except (OSError, UnicodeDecodeError):
        return []
    columns = find_columns(lines[0])
    if columns is None:
        return []
    try:
        rows = list(csv.reader((line for line in lines if line.strip()), delimiter=columns.delimiter))
    except csv.Error:
        return []
    column = columns.of["file"]
    files = [row[column].replace("\\", "/") for row in islice(rows, columns.has_header, None) if len(row) > column]
    suffixes = IMAGE_SUFFIXES if columns.is_relative else ("",)
    return [file + suffix for file in files for suffix in suffixes]
