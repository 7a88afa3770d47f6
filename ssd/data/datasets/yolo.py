"""Datasets as YOLO has them: a text file next to each image, or in labels/ for one in images/, with one row per box."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssd.data.datasets.base import AnnotatedImage, ArrayDataset
from ssd.data.datasets.folders import Layout
from ssd.data.datasets.paths import MissingPathError, files_below, read_text
from ssd.data.datasets.policy import (
    MAX_RELATIVE,
    RAISE_ERRORS,
    ErrorPolicy,
    Tally,
    check_class_names,
    mistake_at,
    tally_unmatched,
)
from ssd.data.datasets.sizes import image_size_of
from ssd.data.datasets.yolo_layout import YOLOLayout, find_description, read_yolo_layout
from ssd.utils.errors import DatasetError, shorten

_LABELS = {"images": "labels", "Images": "Labels", "IMAGES": "LABELS"}  # folder of the text files for that of images


class YOLODataset(ArrayDataset):
    """Images and boxes of one split, or of the whole folder; see ``ArrayDataset`` and ``read_yolo_layout``.

    A row is the number of the class and the box: centre x and y, width and height, as fractions of the image. A row of
    segmentation, class and polygon x1 y1 x2 y2 ..., becomes the box of its points; of a pose the box is taken. An image
    without a text file, or with an empty one, has no objects.
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
        images, labelled, num_unlabelled = [], set(), 0
        for path in paths:
            label_path = label_path_of(path)
            try:
                has_labels = os.path.exists(label_path)
                num_unlabelled += not has_labels
                labelled.add(str(label_path))
                lines = read_text(label_path, "annotation file").splitlines() if has_labels else []
                images.append(self._to_image(path, label_path, lines, layout, policy))
            except DatasetError as error:
                policy.reject(error)
        if images and num_unlabelled == len(paths):
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
            tallies=_tally_others(layout.image_folders(split), labelled, num_unlabelled),
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


def _tally_others(folders: Sequence[Path], labelled: set[str], num_unlabelled: int) -> list[Tally]:
    """Count images without text file, text files of boxes without image, and files of other suffixes next to images."""
    names = set(_files_below(folders))
    others = set(_files_below({_in_labels(folder / "a").parent for folder in folders} - set(folders)))
    unused = sorted(path for path in (names | others) - labelled if path.lower().endswith(".txt"))
    counts = {path: count for path in unused if (count := _count_rows(Path(path)))}
    return tally_unmatched(num_unlabelled, [*counts.values()], next(iter(counts), ""), names)


def _files_below(folders: Iterable[Path]) -> Iterator[str]:
    return (str(folder / name) for folder in folders for name in files_below(folder))


def _count_rows(path: Path) -> int:
    """Return the number of boxes in a text file; 0 if its first row is not that of a box."""
    try:
        rows = [cells for line in read_text(path, "annotation file").splitlines() if (cells := line.split())]
        return len(rows) if rows and len([float(cell) for cell in rows[0]]) >= 5 else 0
    except (DatasetError, ValueError):
        return 0


def label_path_of(image_path: Path) -> Path:
    """Return the text file of an image: in labels/ for one in images/, else next to the image."""
    path, beside = _in_labels(image_path), image_path.with_suffix(".txt")
    return path if path == beside or os.path.exists(path) or not os.path.exists(beside) else beside


def _in_labels(image_path: Path) -> Path:
    """Return the path with suffix .txt, and labels in place of the last folder that is called images."""
    parts = list(image_path.with_suffix(".txt").parts)
    for index in reversed(range(len(parts) - 1)):
        if parts[index] in _LABELS:
            parts[index] = _LABELS[parts[index]]
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
    if not all(abs(number) <= MAX_RELATIVE for number in numbers):  # false for nan
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
