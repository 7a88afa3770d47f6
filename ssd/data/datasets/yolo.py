"""Datasets as YOLO has them: a text file beside each image, or in labels/ for one in images/, with a row a box.

Legend: G objects of an image.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssd.data.datasets.checks import check_class_names
from ssd.data.datasets.listed import ListedDataset, ListedImage
from ssd.data.datasets.paths import MissingPathError, read_file
from ssd.data.datasets.policy import RAISE_ERRORS, ErrorPolicy
from ssd.data.datasets.sizes import image_size_of
from ssd.data.datasets.yolo_files import YOLOLayout, read_yolo_layout
from ssd.utils.errors import DatasetError, shorten

_MAX_RELATIVE = 2  # what is rounded or sticks out stays below; beyond, the numbers are pixels


class YOLODataset(ListedDataset):
    """Images and boxes of one split, or all; see ``ListedDataset``.

    A row is the number of the class and the box: centre x and y, width and height, as fractions of the image. Rows of
    segmentation, class and a polygon x1 y1 x2 y2 ..., become the boxes of their points; of poses the box is taken. An
    image without a text file, or with an empty one, has no objects.

    Args:
        root: the folder, or its data.yaml or obj.data; see ``read_yolo_layout``.
        split: as that names it; None = all images of the folder.
        class_names: background first; None = as the files name and number them.
        metric: see ``DetectionDataset``.
        policy: decides about malformed rows, and images that are missing or damaged.

    Attributes:
        num_polygons: rows that were polygons.

    Raises:
        DatasetError: a path is missing, no image has a text file, a file or row is malformed, or a class unknown.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str | None = None,
        *,
        class_names: Sequence[str] | None = None,
        metric: str = "voc",
        policy: ErrorPolicy = RAISE_ERRORS,
    ):
        layout = read_yolo_layout(Path(root))
        paths = layout.image_paths(split)
        self.num_polygons = 0
        images, num_labelled = [], 0
        for path in paths:
            label_path = label_path_of(path)
            try:
                has_labels = os.path.exists(label_path)
                num_labelled += has_labels
                rows = self._read_rows(label_path, layout, policy) if has_labels else []
                images.append(_to_image(path, label_path, rows, layout))
            except DatasetError as error:
                policy.reject(error)
        if images and not num_labelled:
            raise MissingPathError(
                f"{layout.source}: none of {len(paths)} images has a text file with its boxes; looked for "
                f"{label_path_of(paths[0])} and the like",
                path=label_path_of(paths[0]),
            )
        class_names = class_names or check_class_names(layout.names, str(layout.source))
        super().__init__(
            layout.source, images, class_names=class_names, metric=metric, policy=policy, num_listed=len(paths)
        )

    def _read_rows(self, path: Path, layout: YOLOLayout, policy: ErrorPolicy) -> list[tuple[int, np.ndarray, str]]:
        """(class number, relative box in corner form (4,), field) of each object."""
        try:
            lines = read_file(path, "annotation file").decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DatasetError(f"{path}: not UTF-8 text: {error}", path=path) from error
        rows = []
        for number, line in enumerate(lines, start=1):
            cells = line.split()
            if not cells:
                continue
            field = f"row {number}"
            try:
                class_number, numbers = _class_number(cells[0], layout), _numbers(cells[1:], layout.num_columns)
            except ValueError as error:
                message = f"{path}: {field}: {error}"
                policy.reject(DatasetError(message, path=path, field=field))
                continue
            self.num_polygons += len(numbers) > 4
            rows.append((class_number, _corner_form(numbers), field))
        return rows


def label_path_of(image_path: Path) -> Path:
    """Return the text file of an image: .txt for its suffix, and labels for the last folder that is called images."""
    parts = list(image_path.with_suffix(".txt").parts)
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts)


def _class_number(cell: str, layout: YOLOLayout) -> int:
    try:
        number = float(cell)  # some tools write 0.0
    except ValueError:
        number = -1
    if not 0 <= number < len(layout.names) or number != int(number):
        known = f"{layout.source.name} names the classes 0 to {len(layout.names) - 1}"
        raise ValueError(f"the class is {shorten(cell)}; {known}")
    return int(number)


def _numbers(cells: Sequence[str], num_columns: int | None) -> list[float]:
    """The four numbers of a box, or the coordinates of a polygon."""
    if num_columns is not None and len(cells) + 1 == num_columns:
        cells = cells[:4]
    if len(cells) != 4 and (len(cells) < 6 or len(cells) % 2):
        raise ValueError(
            f"{len(cells) + 1} numbers; a row is class, centre x, centre y, width, height, or class and a polygon "
            "of at least three points"
        )
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError as error:
        raise ValueError(f"{shorten(' '.join(cells))} are no numbers") from error
    if not all(abs(number) <= _MAX_RELATIVE for number in numbers):  # nor is nan
        found = shorten(" ".join(cells))
        raise ValueError(f"{found}; coordinates are fractions of width and height of the image, 0 to 1, not pixels")
    return numbers


def _corner_form(numbers: Sequence[float]) -> np.ndarray:
    """A box in centre form, or the points of a polygon, as box in corner form, float64 (4,)."""
    if len(numbers) == 4:
        cx, cy, width, height = numbers
        return np.array([cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2])
    xs, ys = numbers[0::2], numbers[1::2]
    return np.array([min(xs), min(ys), max(xs), max(ys)])


def _to_image(
    path: Path, label_path: Path, rows: Sequence[tuple[int, np.ndarray, str]], layout: YOLOLayout
) -> ListedImage:
    size = image_size_of(path)
    boxes = np.array([box for _, box, _ in rows], dtype=np.float64).reshape(-1, 4) * np.tile(size, 2)
    names = [layout.names[number] for number, _, _ in rows]
    name = os.path.relpath(path, layout.folder)
    return ListedImage(name, path, size, boxes, names, [field for _, _, field in rows], label_path)
