"""Datasets as YOLO has them: a text file beside each image, or in labels/ for one in images/, with a row a box."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssd.data.datasets.base import AnnotatedImage, ArrayDataset
from ssd.data.datasets.folders import Layout
from ssd.data.datasets.paths import MissingPathError, read_text
from ssd.data.datasets.policy import RAISE_ERRORS, ErrorPolicy, check_class_names, mistake_at
from ssd.data.datasets.sizes import image_size_of
from ssd.data.datasets.yolo_layout import YOLOLayout, find_description, read_yolo_layout
from ssd.utils.errors import DatasetError, shorten

_MAX_RELATIVE = 2  # rounded boxes, and boxes that leave the image, stay below; larger numbers are pixels


class YOLODataset(ArrayDataset):
    """Images and boxes of one split, or of the whole folder; see ``ArrayDataset``.

    A row is the number of the class and the box: centre x and y, width and height, as fractions of the image. A row of
    segmentation, class and polygon x1 y1 x2 y2 ..., becomes the box of its points; of a pose the box is taken. An image
    without a text file, or with an empty one, has no objects.

    Args:
        root: Folder, or its data.yaml or obj.data; see ``read_yolo_layout``.
        split: Name of a split; None = all images of the folder.
        class_names: Background first; None = the names in the files.

    Attributes:
        num_polygons: Number of rows that were polygons.
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
                lines = read_text(label_path, "annotation file").splitlines() if has_labels else []
                images.append(self._to_image(path, label_path, lines, layout, policy))
            except DatasetError as error:
                policy.reject(error)
        if images and not num_labelled:
            label_path = label_path_of(paths[0])
            raise MissingPathError(
                f"{layout.source}: none of {len(paths)} images has a text file with its boxes; looked for {label_path} "
                "and others like it",
                path=label_path,
            )
        super().__init__(
            images,
            class_names=class_names or check_class_names(layout.names, layout.source),
            metric=metric,
            place=layout.source,
            policy=policy,
            num_listed=len(paths),
        )

    def _to_image(
        self, path: Path, label_path: Path, lines: Sequence[str], layout: YOLOLayout, policy: ErrorPolicy
    ) -> AnnotatedImage:
        names, boxes, fields, written = [], [], [], []
        for number, cells in enumerate(map(str.split, lines), start=1):
            if not cells:
                continue
            try:
                name, numbers = _read_class(cells[0], layout), _read_numbers(cells[1:], layout.num_columns)
            except ValueError as error:
                policy.reject(mistake_at(label_path, f"row {number}", error))
                continue
            self.num_polygons += len(numbers) > 4
            names.append(name)
            boxes.append(_to_corners(numbers))
            fields.append(f"row {number}")
            written.append(cells[1:5])
        size = image_size_of(path)
        pixels = np.array(boxes, dtype=np.float64).reshape(-1, 4) * np.tile(size, 2)
        name = os.path.relpath(path, layout.folder)
        return AnnotatedImage(name, path, size, names, pixels, label_path, fields, written)


def label_path_of(image_path: Path) -> Path:
    """Return the text file of an image: suffix .txt, and labels in place of the last folder that is called images."""
    parts = list(image_path.with_suffix(".txt").parts)
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts)


def _read_class(cell: str, layout: YOLOLayout) -> str:
    try:
        number = float(cell)  # some tools write 0.0
    except ValueError:
        number = -1
    if not 0 <= number < len(layout.names) or number != int(number):
        known = f"{layout.source.name} names the classes 0 to {len(layout.names) - 1}"
        raise ValueError(f"the class is {shorten(cell)}; {known}")
    return layout.names[int(number)]


def _read_numbers(cells: Sequence[str], num_columns: int | None) -> list[float]:
    """Return the four numbers of a box, or the coordinates of a polygon."""
    if num_columns is not None and len(cells) + 1 == num_columns:
        cells = cells[:4]
    if len(cells) != 4 and (len(cells) < 6 or len(cells) % 2):
        raise ValueError(
            f"{len(cells) + 1} numbers; a row is class, centre x, centre y, width, height, or class and a polygon "
            "of at least three points"
        )
    found = shorten(" ".join(cells))
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError as error:
        raise ValueError(f"{found} are not numbers") from error
    if not all(abs(number) <= _MAX_RELATIVE for number in numbers):  # false for nan
        raise ValueError(f"{found}; coordinates are fractions of width and height of the image, 0 to 1, not pixels")
    return numbers


def _to_corners(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    """Return the corners of a box in centre form, or of the box of a polygon."""
    if len(numbers) == 4:
        cx, cy, width, height = numbers
        return cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2
    xs, ys = numbers[0::2], numbers[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def find_yolo(root: Path) -> Layout | None:
    """Look for the layout of Ultralytics, Roboflow, Darknet, CVAT or LabelImg."""
    source = None
    try:
        source = find_description(root)
        if source is None:
            return None
        layout = read_yolo_layout(root)
    except DatasetError as error:
        return Layout("YOLO", str(root), {}, {source or Path(error.path or root): str(error)})
    entry = {"FORMAT": "yolo", "ROOT": str(root)}
    entries: dict[str | None, Any] = {split: {**entry, "SPLIT": split} for split in layout.splits}
    return Layout("YOLO", str(layout.source), entries or {None: entry})
