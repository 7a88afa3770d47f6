"""Detected objects of one image."""

import difflib
import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageShow

from ssd.inference import detection_formats
from ssd.inference.sources import VideoInfo
from ssd.utils.errors import ConfigError, ImageError, os_errors_as, shorten
from ssd.utils.image import read_image, write_image
from ssd.visualization import draw_detections


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """Objects of one image, best first.

    ``detections[rows]`` takes an index, a slice, indices or a mask and returns Detections of the same image. Iterating
    yields Detections of one object each.
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

    def __post_init__(self) -> None:
        num, shapes = len(self.labels), (self.boxes.shape, self.labels.shape, self.scores.shape)
        if shapes != ((num, 4), (num,), (num,)):
            raise ValueError(f"boxes, labels and scores must have shapes (N, 4), (N,) and (N,); got {shapes}")
        if num and not 1 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            bounds = f"{self.labels.min()} to {self.labels.max()}"
            raise ValueError(f"labels must be 1 to {len(self.class_names) - 1}, as in class_names; got {bounds}")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> "Detections":
        rows = np.atleast_1d(np.arange(len(self))[rows])  # IndexError where a row is missing
        return replace(self, boxes=self.boxes[rows], labels=self.labels[rows], scores=self.scores[rows])

    def __iter__(self) -> Iterator["Detections"]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        return f"<Detections in {self.name}, {self.orig_size[0]} x {self.orig_size[1]}: {count_objects(self)}>"

    @property
    def names(self) -> list[str]:
        """Class name of each object."""
        return [self.class_names[label] for label in self.labels]

    @property
    def image(self) -> np.ndarray:
        """Image, RGB uint8 (H, W, 3); read from its file if the pixels were not kept, with ImageError on failure."""
        if self.pixels is not None:
            return self.pixels
        if self.path is None:
            raise ImageError(f"{self.name}: its pixels were not kept; use predict(..., stream=True)")
        image = read_image(self.path)
        if image.shape[1::-1] != self.orig_size:
            sizes = f"{self.orig_size} pixels at detection, now {image.shape[1::-1]}"
            raise ImageError(f"{self.path} has changed: {sizes}; detect again")
        return image

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

    def draw(self, score_threshold: float = 0.5) -> np.ndarray:
        """Return the image with the boxes that score above a threshold, RGB uint8 (H, W, 3)."""
        shown = self.filter(score_threshold)
        return draw_detections(self.image, shown.boxes, shown.labels, shown.scores, self.class_names)

    def show(self, out_file: str | os.PathLike[str] | None = None, score_threshold: float = 0.5) -> None:
        """Write the drawn image to a file, whose suffix names the format, or open it in an image viewer."""
        drawn = self.draw(score_threshold)
        if out_file is not None:
            path = Path(out_file)
            with os_errors_as(ImageError, path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_image(drawn, path)
        elif not ImageShow.show(Image.fromarray(drawn), title=self.name):
            raise ImageError(f"{self.name}: no image viewer found; pass out_file to show()")

    to_coco = detection_formats.to_coco
    to_voc_xml = detection_formats.to_voc_xml
    to_json = detection_formats.to_json
    to_supervision = detection_formats.to_supervision

    def _label_of(self, item: str | int) -> int:
        names = self.class_names[1:]
        if isinstance(item, str) and item in names:
            return self.class_names.index(item, 1)
        if not isinstance(item, str) and 1 <= item <= len(names):
            return int(item)
        close = difflib.get_close_matches(str(item), names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"labels are 1 to {len(names)}."
        raise ConfigError(f"unknown class {item!r}: {hint} Known classes: {shorten(names)}")


def count_objects(detections: Detections) -> str:
    """Return the number of objects of each class as text: "2 dog, 1 cat", or "nothing"."""
    return ", ".join(f"{count} {name}" for name, count in Counter(detections.names).most_common()) or "nothing"
