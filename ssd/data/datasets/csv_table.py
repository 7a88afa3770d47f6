"""Datasets in one table: a row a box, with the file name of its image and its class."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssd.data.datasets.base import BACKGROUND
from ssd.data.datasets.checks import MAX_COORDINATE
from ssd.data.datasets.csv_columns import CORNERS, Columns, find_columns
from ssd.data.datasets.listed import ListedDataset, ListedImage
from ssd.data.datasets.paths import MissingPathError, path_inside, read_file, require_path
from ssd.data.datasets.policy import RAISE_ERRORS, ErrorPolicy
from ssd.data.datasets.sizes import MISSING, image_size_of, true_size
from ssd.utils.errors import DatasetError, shorten
from ssd.utils.image import IMAGE_SUFFIXES


class _Row(NamedTuple):
    """One box, or with an empty name an image without objects; 0 x 0 is a size that is not told."""

    file: str
    name: str
    box: tuple[float, ...]
    size: tuple[float, float]
    field: str


class CSVDataset(ListedDataset):
    """Images and boxes of one table; see ``ListedDataset``.

    The columns are found by their names, see ``find_columns``; the order and further columns do not matter. Without a
    header they are path, x1, y1, x2, y2, class. Boxes are in pixels counted from 0. A row without box and class is an
    image without objects. The table is UTF-8 text, separated by commas, semicolons or tabs.

    Args:
        ann_file: the table.
        data_dir: the folder that file names are relative to; None = that of the table.
        class_names: background first; None = the names that occur, sorted.
        metric: see ``DetectionDataset``.
        policy: decides about malformed rows, and images that are missing or not in the folder.

    Raises:
        DatasetError: a path is missing, the table has no such columns, or a row is malformed.
    """

    def __init__(
        self,
        ann_file: str | os.PathLike[str],
        data_dir: str | os.PathLike[str] | None = None,
        *,
        class_names: Sequence[str] | None = None,
        metric: str = "voc",
        policy: ErrorPolicy = RAISE_ERRORS,
    ):
        path = Path(ann_file)
        rows_of: dict[str, list[_Row]] = {}
        columns, lines = _read_table(path)
        for row in _sound_rows(path, columns, lines, policy):
            rows_of.setdefault(row.file, []).append(row)
        if not rows_of:
            raise DatasetError(f"{path}: the table has no row that can be read; write one row a box", path=path)
        self.data_dir = require_path(path.parent if data_dir is None else Path(data_dir), "image folder")
        images = []
        for file, rows in rows_of.items():
            try:
                image_path = _find_image(self.data_dir, file, columns.is_relative, path, rows[0].field)
                images.append(_to_image(file, image_path, rows, path, columns, policy))
            except DatasetError as error:
                policy.reject(error)
        super().__init__(path, images, class_names=class_names, metric=metric, policy=policy, num_listed=len(rows_of))


def _read_table(path: Path) -> tuple[Columns, list[str]]:
    """The columns, and the lines of the table."""
    content = read_file(path, "table")
    try:
        lines = content.decode("utf-8-sig").splitlines(keepends=True)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 text: {error}; save the table as CSV UTF-8", path=path) from error
    columns = find_columns(lines[0]) if lines else None
    if columns is None:
        found = shorten(lines[0].strip()) if lines else "nothing"
        raise DatasetError(
            f"{path}: the first line must name columns for the file, the box (xmin, ymin, xmax, ymax) and the class, "
            f"such as filename,width,height,class,xmin,ymin,xmax,ymax, or be a row path,x1,y1,x2,y2,class; "
            f"it is {found}",
            path=path,
            field="row 1",
        )
    return columns, lines


def _sound_rows(path: Path, columns: Columns, lines: Sequence[str], policy: ErrorPolicy) -> Iterator[_Row]:
    """The rows that can be read, regions of crowds left out."""
    reader = csv.reader(lines, delimiter=columns.delimiter)
    try:
        for cells in reader:
            if not any(cells) or (reader.line_num == 1 and columns.has_header):
                continue
            field = f"row {reader.line_num}"
            try:
                row = _to_row(cells, columns.of, field)
            except ValueError as error:
                policy.reject(DatasetError(f"{path}: {field}: {error}", path=path, field=field))
            else:
                if row is not None:
                    yield row
    except csv.Error as error:
        field = f"row {reader.line_num}"
        raise DatasetError(f"{path}: {field}: no CSV: {error}", path=path, field=field) from error


def _to_row(cells: Sequence[str], of: Mapping[str, int], field: str) -> _Row | None:
    """The row; None for the region of a crowd, which is no object. Raises ValueError for what is none."""
    if len(cells) <= max(of[name] for name in ("file", "name", *CORNERS)):
        raise ValueError(f"{len(cells)} columns, {max(of.values()) + 1} are expected: {shorten(list(cells))}")
    file, name = cells[of["file"]].strip(), cells[of["name"]].strip()
    corners = [cells[of[corner]].strip() for corner in CORNERS]
    if not file:
        raise ValueError("the file name is empty")
    size = tuple(_side(cells, of.get(side)) for side in ("width", "height"))
    if not name and not any(corners):
        return _Row(file, "", (), (size[0], size[1]), field)
    if "is_group" in of and cells[of["is_group"]].strip() == "1":
        return _Row(file, "", (), (size[0], size[1]), field)
    if not name or name == BACKGROUND:
        raise ValueError(f"the class is {name or 'empty'}; name that of the object, or leave the box empty too")
    return _Row(
        file,
        name,
        tuple(_number(cell, corner) for cell, corner in zip(corners, CORNERS, strict=True)),
        (size[0], size[1]),
        field,
    )


def _side(cells: Sequence[str], column: int | None) -> float:
    text = cells[column].strip() if column is not None and column < len(cells) else ""
    return float(int(_number(text, "width or height"))) if text else 0.0


def _number(text: str, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not abs(value) <= MAX_COORDINATE:  # nor is nan
        raise ValueError(f"{column} is {shorten(text)}; it must be a number")
    return value


def _find_image(folder: Path, file: str, has_no_suffix: bool, table: Path, field: str) -> Path:
    """The image that a row names; a backslash divides folders too, where a table was written on Windows."""
    names = [file, file.replace("\\", "/")]
    if has_no_suffix:
        names = [file + suffix for suffix in IMAGE_SUFFIXES]
    paths = [path_inside(str(folder), name) for name in names]
    if not any(paths):
        message = (
            f"{table}: {field}: the file name {shorten(file)} is no file inside {folder}; name a folder that holds all"
        )
        raise DatasetError(f"{message} images, and the files relative to it", path=table, field=field)
    found = next((path for path in paths if path and os.path.exists(path)), None)
    if found is None:
        message = (
            f"{table}: {field}: the image {shorten(file)} is not in {folder}; set IMAGES to the folder that holds it"
        )
        raise MissingPathError(message, path=folder / file, field=field, kind=MISSING)
    return Path(found)


def _to_image(
    file: str, path: Path, rows: Sequence[_Row], table: Path, columns: Columns, policy: ErrorPolicy
) -> ListedImage:
    objects = [row for row in rows if row.name]
    boxes = np.array([row.box for row in objects], dtype=np.float64).reshape(-1, 4)
    if columns.is_relative:
        size = image_size_of(path)
        boxes = boxes * np.tile(size, 2)
    else:
        sizes = {row.size for row in rows} - {(0.0, 0.0)}
        if len(sizes) > 1:
            field = rows[0].field
            message = f"{table}: {field}: the rows of {shorten(file)} give it different sizes: {sorted(sizes)}"
            raise DatasetError(message, path=table, field=field)
        width, height = map(int, next(iter(sizes), (0, 0)))
        size = true_size(width, height, boxes, path, policy)
    names, fields = [row.name for row in objects], [row.field for row in objects]
    return ListedImage(file, path, size, boxes, names, fields, table)
