"""Datasets in one table: one row per box, with the file name of its image and its class."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssd.data.datasets.base import AnnotatedImage, ArrayDataset
from ssd.data.datasets.folders import Layout, find_annotation_files
from ssd.data.datasets.paths import MissingPathError, read_text, require_path
from ssd.data.datasets.policy import (
    RAISE_ERRORS,
    ErrorPolicy,
    Tally,
    check_unit,
    mistake_at,
    read_number,
    tally_unmatched,
)
from ssd.data.datasets.sizes import find_image, image_size_of, true_size
from ssd.structures.class_names import BACKGROUND
from ssd.utils.errors import DatasetError, shorten
from ssd.utils.image import IMAGE_SUFFIXES

# Names of columns, without case, spaces, underscores and hyphens. Sources: TensorFlow's object detection tutorials and
# Roboflow (filename, width, height, class, xmin, ...), Open Images V4 and later (ImageID, LabelName, XMin, ...),
# Kaggle's competitions (image_id, x_min, ...), torchvision's and RetinaNet's tutorials (path, x1, ..., class).
_COLUMN_NAMES = {
    "file": ("filename", "file", "path", "filepath", "image", "imagepath", "imagename", "imagefile", "img", "imageid"),
    "name": ("class", "classname", "label", "labelname", "name", "category", "categoryname", "object"),
    "x1": ("xmin", "x1", "left", "bboxxmin", "bboxx1"),
    "y1": ("ymin", "y1", "top", "bboxymin", "bboxy1"),
    "x2": ("xmax", "x2", "right", "bboxxmax", "bboxx2"),
    "y2": ("ymax", "y2", "bottom", "bboxymax", "bboxy2"),
    "width": ("width", "imagewidth", "imgwidth", "w"),
    "height": ("height", "imageheight", "imgheight", "h"),
    "is_group": ("isgroupof",),
}
_CORNERS = ("x1", "y1", "x2", "y2")
_NEEDED = ("file", *_CORNERS, "name")
_DELIMITERS = ",;\t"
_SAMPLED_ROWS = 20  # rows; the image of one must exist for a table to be found


@dataclass(frozen=True)
class Columns:
    """Columns of a table."""

    of: dict[str, int]  # index of each column: file, x1, y1, x2, y2, name; width, height and is_group if they exist
    delimiter: str
    has_header: bool  # the first row names the columns
    is_relative: bool  # boxes are fractions of the image, and files lack their suffix, as in Open Images


class _Row(NamedTuple):
    """One box, or with an empty name an image without objects; a size of 0 x 0 is missing."""

    file: str
    name: str
    box: tuple[float, ...]
    size: tuple[int, int]
    field: str
    is_group: bool = False


class CSVDataset(ArrayDataset):
    """Images and boxes of one table; see ``ArrayDataset``. Files are relative to ``data_dir``, the folder of the table.

    The columns are found by their names, see ``find_columns``; their order and further columns do not matter. Without a
    header they are path, x1, y1, x2, y2, class. Boxes are in pixels counted from 0. A row without box and class is an
    image without objects. The table is UTF-8 text, separated by commas, semicolons or tabs.
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
        columns, lines = _read_table(path)
        rows_of: dict[str, list[_Row]] = {}
        for row in _read_rows(path, columns, lines):
            if isinstance(row, DatasetError):
                policy.reject(row)
            else:
                rows_of.setdefault(row.file, []).append(row)
        if not rows_of:
            raise DatasetError(f"{path}: the table has no row that can be read; write one row per box", path=path)
        self.data_dir = require_path(path.parent if data_dir is None else Path(data_dir), "image folder")
        boxes = [row.box for rows in rows_of.values() for row in rows if row.name]
        check_unit(np.array(boxes), path, are_fractions=columns.is_relative)
        images, missing = [], []
        for rows in rows_of.values():
            try:
                images.append(_to_image(rows, self.data_dir, path, columns.is_relative, policy))
            except MissingPathError as error:
                missing.append((sum(bool(row.name) for row in rows), error))
            except DatasetError as error:
                policy.reject(error)
        super().__init__(
            images,
            class_names=class_names,
            metric=metric,
            place=path,
            policy=policy,
            num_listed=len(rows_of),
            tallies=[
                *_tally_others({os.path.abspath(image.path) for image in images}, missing),
                Tally("groups", sum(row.is_group for rows in rows_of.values() for row in rows)),
            ],
        )


def _tally_others(paths: set[str], missing: Sequence[tuple[int, DatasetError]]) -> list[Tally]:
    """Count images without a row in the folders of the others, missing images, and files with other suffixes."""
    folders = {os.path.dirname(path) for path in paths}
    names = [name for folder in folders for name in os.listdir(folder) if os.path.join(folder, name) not in paths]
    num_images = sum(name.lower().endswith(IMAGE_SUFFIXES) for name in names)
    example = str(missing[0][1]) if missing else ""
    return tally_unmatched(num_images, [count for count, _ in missing], example, names)


def _read_table(path: Path) -> tuple[Columns, list[str]]:
    lines = read_text(path, "table").splitlines(keepends=True)
    columns = find_columns(lines[0]) if lines else None
    if columns is None:
        found = shorten(lines[0].strip()) if lines else "nothing"
        problem = (
            "the first line must name columns for the file, the box (xmin, ymin, xmax, ymax) and the class, such as "
            f"filename,width,height,class,xmin,ymin,xmax,ymax, or be a row path,x1,y1,x2,y2,class; it is {found}"
        )
        raise mistake_at(path, "row 1", problem)
    return columns, lines


def find_columns(first_line: str) -> Columns | None:
    """Return the columns of a table from its first line: names, or a row path,x1,y1,x2,y2,class; None if neither."""
    delimiter = max(_DELIMITERS, key=first_line.count)
    try:
        row = next(csv.reader([first_line], delimiter=delimiter), [])
    except csv.Error:
        return None
    keys = ["".join(cell.lower().split()).replace("_", "").replace("-", "") for cell in row]
    of = {}
    for field, names in _COLUMN_NAMES.items():
        found = [keys.index(name) for name in names if name in keys]
        if found:
            of[field] = found[0]
    if all(field in of for field in _NEEDED):
        return Columns(of, delimiter, has_header=True, is_relative="imageid" in keys and "labelname" in keys)
    if _is_box_row(row):
        return Columns({field: i for i, field in enumerate(_NEEDED)}, delimiter, has_header=False, is_relative=False)
    return None


def _is_box_row(row: Sequence[str]) -> bool:
    """Return whether a row is path,x1,y1,x2,y2,class; all but the path are empty for an image without objects."""
    try:
        return len(row) == len(_NEEDED) and bool(row[0]) and (not any(row[1:]) or bool([float(x) for x in row[1:5]]))
    except ValueError:
        return False


def _read_rows(path: Path, columns: Columns, lines: Sequence[str]) -> Iterator[_Row | DatasetError]:
    reader = csv.reader(lines, delimiter=columns.delimiter)
    try:
        for cells in reader:
            if any(cells) and not (reader.line_num == 1 and columns.has_header):
                field = f"row {reader.line_num}"
                try:
                    yield _to_row(cells, columns.of, field)
                except ValueError as error:
                    yield mistake_at(path, field, error)
    except csv.Error as error:
        raise mistake_at(path, f"row {reader.line_num}", f"no CSV: {error}") from error


def _to_row(cells: Sequence[str], of: Mapping[str, int], field: str) -> _Row:
    """Return the row. Raise ValueError if it is malformed."""
    if len(cells) <= max(of[name] for name in _NEEDED):
        raise ValueError(f"{len(cells)} columns, {max(of.values()) + 1} are expected: {shorten(list(cells))}")
    file, name = cells[of["file"]].strip(), cells[of["name"]].strip()
    corners = [cells[of[corner]].strip() for corner in _CORNERS]
    if not file:
        raise ValueError("the file name is empty")
    width, height, is_group = (_optional_cell(cells, of.get(key)) for key in ("width", "height", "is_group"))
    size = int(read_number(width or "0", "width")), int(read_number(height or "0", "height"))
    if is_group == "1" or (not name and not any(corners)):  # a group (crowd) is not an object
        return _Row(file, "", (), size, field, is_group=is_group == "1")
    if not name or name == BACKGROUND:
        raise ValueError(f"the class is {name or 'empty'}; name that of the object, or leave the box empty too")
    box = tuple(read_number(cell, corner) for cell, corner in zip(corners, _CORNERS, strict=True))
    return _Row(file, name, box, size, field)


def _optional_cell(cells: Sequence[str], column: int | None) -> str:
    return cells[column].strip() if column is not None and column < len(cells) else ""


def _to_image(
    rows: Sequence[_Row], folder: Path, table: Path, is_relative: bool, policy: ErrorPolicy
) -> AnnotatedImage:
    file, field = rows[0].file, rows[0].field
    path = find_image(folder, [file + suffix for suffix in (IMAGE_SUFFIXES if is_relative else ("",))], table, field)
    objects = [row for row in rows if row.name]
    boxes = np.array([row.box for row in objects], dtype=np.float64).reshape(-1, 4)
    if is_relative:
        size = image_size_of(path)
        boxes = boxes * np.tile(size, 2)
    else:
        sizes = {row.size for row in rows} - {(0, 0)}
        if len(sizes) > 1:
            raise mistake_at(table, field, f"the rows of {shorten(file)} give it different sizes: {sorted(sizes)}")
        width, height = next(iter(sizes), (0, 0))
        size = true_size(width, height, boxes, path, policy)
    names, fields = [row.name for row in objects], [row.field for row in objects]
    return AnnotatedImage(file, path, size, names, boxes, table, fields, written=[list(row.box) for row in objects])


def find_csv(root: Path) -> Layout:
    """Look for tables of boxes."""
    return find_annotation_files(root, "CSV", ".csv", _first_images)


def _first_images(path: Path) -> list[str]:
    """Return the files that the first rows of a table name; none if its columns are not those of boxes."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = [file.readline(10_000) for _ in range(_SAMPLED_ROWS)]
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
    files = [row[column] for row in islice(rows, columns.has_header, None) if len(row) > column]
    suffixes = IMAGE_SUFFIXES if columns.is_relative else ("",)
    return [file + suffix for file in files for suffix in suffixes]
