"""Detected objects of one image."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssd.inference import detection_formats
from ssd.inference.notebook import picture_html, show_picture, table_html
from ssd.inference.sources import VideoInfo
from ssd.utils.errors import ConfigError, ImageError, os_errors_as, shorten
from ssd.utils.image import read_image, write_image
from ssd.visualization import draw_detections

COLUMNS = ("class", "score", "x1", "y1", "x2", "y2")


class Detection(NamedTuple):
    """One object."""

    name: str  # of its class
    score: float
    box: np.ndarray  # float32 (4,), corner form in pixels of the original image
    label: int  # from 1


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """Objects of one image, best first.

    Iterating yields a ``Detection`` for each object. ``detections[rows]`` takes an index, a slice, indices or a mask
    and returns Detections of the same image. In a notebook they are shown as the drawn image and a table.
    """

    boxes: np.ndarray  # float32 (N, 4), corner form in pixels of the original image; may exceed it
    labels: np.ndarray  # int64 (N,), from 1
    scores: np.ndarray  # float32 (N,), descending
    class_names: tuple[str, ...]  # index = label, background first
    orig_size: tuple[int, int]  # (width, height) of the image in pixels
    name: str = "image"  # this and the next four: origin of the image, see ``Frame``
    path: Path | None = None
    index: int = 0
    video: VideoInfo | None = None
    time: float | None = None
    pixels: np.ndarray | None = None  # RGB uint8 (H, W, 3), if it was kept

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> "Detections":
        rows = np.atleast_1d(np.arange(len(self))[rows])  # IndexError where a row is missing
        return replace(self, boxes=self.boxes[rows], labels=self.labels[rows], scores=self.scores[rows])

    def __iter__(self) -> Iterator[Detection]:
        return map(Detection, self.names, self.scores.tolist(), self.boxes, self.labels.tolist())

    def __repr__(self) -> str:
        return f"<Detections in {self.name}, {self.orig_size[0]} x {self.orig_size[1]}: {count_objects(self)}>"

    def _repr_html_(self) -> str:
        try:
            picture = picture_html(self.draw(), self.name)
        except ImageError as error:
            picture = f"<p>{escape(str(error))}</p>"
        return f"{picture}<p>{escape(repr(self)[1:-1])}</p>{table_html(COLUMNS, self.rows())}"

    def rows(self) -> list[list[str]]:
        """Return the texts of a table: COLUMNS of each object."""
        return [[found.name, f"{found.score:.3f}", *(f"{side:.0f}" for side in found.box)] for found in self]

    @property
    def names(self) -> list[str]:
        """Class name of each object."""
        return [self.class_names[label] for label in self.labels]

    @property
    def counts(self) -> dict[str, int]:
        """Number of objects of each class that was found, the most frequent first."""
        return dict(Counter(self.names).most_common())

    @property
    def crops(self) -> list[np.ndarray]:
        """Part of the image in each box, RGB uint8 (h, w, 3); a side is 0 for a box outside the image."""
        corners = np.clip(self.boxes.round().astype(int), 0, np.tile(self.orig_size, 2))
        image = self.image
        return [image[y1:y2, x1:x2] for x1, y1, x2, y2 in corners.tolist()]

    @property
    def image(self) -> np.ndarray:
        """Image, RGB uint8 (H, W, 3); read from its file if the pixels were not kept, with ImageError on failure."""
        if self.pixels is not None:
            return self.pixels
        if self.path is None:
            raise ImageError(f"{self.name}: its pixels were not kept; use predict(..., stream=True)")
        return read_image(self.path)

    def filter(
        self, score_threshold: float | None = None, classes: str | int | Collection[str | int] | None = None
    ) -> "Detections":
        """Return the objects that score above a threshold and belong to some classes: names, labels or one of them."""
        is_kept = np.ones(len(self), dtype=bool)
        if score_threshold is not None:
            is_kept &= self.scores > score_threshold
        if classes is not None:
            wanted = [classes] if isinstance(classes, str | int) else classes
            is_kept &= np.isin(self.labels, [self._label_of(item) for item in wanted])
        return self[is_kept]

    def draw(self, score_threshold: float | None = None) -> np.ndarray:
        """Return the image with all boxes, or those that score above a threshold, RGB uint8 (H, W, 3)."""
        shown = self.filter(score_threshold)
        return draw_detections(self.image, shown.boxes, shown.labels, shown.scores, self.class_names)

    def show(self, out_file: str | os.PathLike[str] | None = None, score_threshold: float | None = None) -> None:
        """Show the drawn image below the cell of a notebook or in a window, or ``save`` it to ``out_file``."""
        if out_file is not None:
            self.save(out_file, score_threshold)
        else:
            show_picture(self.draw(score_threshold), self.name)

    def save(self, path: str | os.PathLike[str], score_threshold: float | None = None) -> None:
        """Write the drawn image to a file, whose suffix names the format; its folder is made."""
        path = Path(path)
        with os_errors_as(ImageError, path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_image(self.draw(score_threshold), path)

    to_coco = detection_formats.to_coco
    to_voc_xml = detection_formats.to_voc_xml
    to_yolo = detection_formats.to_yolo
    to_json = detection_formats.to_json
    to_pandas = detection_formats.to_pandas
    to_supervision = detection_formats.to_supervision

    def _label_of(self, item: str | int) -> int:
        names = self.class_names[1:]
        if item in names:
            return self.class_names.index(str(item), 1)
        if not isinstance(item, str) and 1 <= item <= len(names):
            return int(item)
        raise ConfigError(f"unknown class {item!r}: labels are 1 to {len(names)}, the names {shorten(names)}")


def count_objects(detections: Detections) -> str:
    """Return the number of objects of each class as text: "2 dog, 1 cat", or "nothing"."""
    return ", ".join(f"{count} {name}" for name, count in detections.counts.items()) or "nothing"
