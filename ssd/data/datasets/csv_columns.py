"""Which column of a CSV table is what."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass

# Names of columns, without case, spaces, underscores and hyphens. Sources: TensorFlow's object detection tutorials and
# Roboflow (filename, width, height, class, xmin, ...), Open Images V4 and later (ImageID, LabelName, XMin, ...),
# Kaggle's competitions (image_id, x_min, ...), torchvision's and RetinaNet's tutorials (path, x1, ..., class).
_NAMES = {
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
CORNERS = ("x1", "y1", "x2", "y2")
_NEEDED = ("file", *CORNERS, "name")
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Columns:
    """Where in a row the fields stand.

    Attributes:
        of: column of each field: file, x1, y1, x2, y2, name, and, as far as the table has them, width and height of
            the image and is_group.
        delimiter: between two columns.
        has_header: the first row names the columns.
        is_relative: boxes are fractions of width and height of their image, and files are named without their suffix,
            as in Open Images.
    """

    of: dict[str, int]
    delimiter: str
    has_header: bool
    is_relative: bool


def find_columns(first_line: str) -> Columns | None:
    """Read the first line of a table: names of columns, or a row of RetinaNet's path,x1,y1,x2,y2,class.

    Returns:
        None: it is neither.
    """
    delimiter = max(_DELIMITERS, key=first_line.count)
    try:
        row = next(csv.reader([first_line], delimiter=delimiter), [])
    except csv.Error:
        return None
    keys = ["".join(cell.lower().split()).replace("_", "").replace("-", "") for cell in row]
    of = {}
    for field, names in _NAMES.items():
        found = [keys.index(name) for name in names if name in keys]
        if found:
            of[field] = found[0]
    if all(field in of for field in _NEEDED):
        is_relative = "imageid" in keys and "labelname" in keys
        return Columns(of, delimiter, has_header=True, is_relative=is_relative)
    if len(row) == len(_NEEDED) and row[0] and _are_corners(row[1:5], row[5]):
        return Columns({field: i for i, field in enumerate(_NEEDED)}, delimiter, has_header=False, is_relative=False)
    return None


def _are_corners(cells: Sequence[str], name: str) -> bool:
    """Whether cells can be a box; all are empty in the row of an image without objects."""
    if not any(cells) and not name:
        return True
    try:
        return len([float(cell) for cell in cells]) == len(CORNERS)
    except ValueError:
        return False
