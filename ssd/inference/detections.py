"""What was found in one image."""

import difflib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageShow

from ssd.inference import detection_formats
from ssd.inference.sources import VideoInfo
from ssd.utils.errors import ConfigError, ImageError
from ssd.utils.image import read_image, write_image
from ssd.visualization import draw_detections

_SHOWN_CLASSES = 20  # in an error


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """The objects of one image, best first.

    ``detections[rows]`` takes a number, a slice, numbers or a mask, and is itself of this class; the order of the rows
    stays, and so does all that is said of the image. Iterating gives one object at a time, likewise.

    Attributes:
        boxes: float32 (N, 4), corner form in pixels of the original image; may leave it.
        labels: int64 (N,), from 1.
        scores: float32 (N,), descending.
        class_names: index = label, background first.
        orig_size: (width, height) of the image in pixels.
        name: of the image, for people; see ``Frame``.
        path: the image file, if there is one.
        index: number of the frame in its video, else of the image in its source.
        video: the video that the image is a frame of.
        pixels: the image, RGB uint8 (H, W, 3), if it was kept.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    class_names: tuple[str, ...]
    orig_size: tuple[int, int]
    name: str = "image"
    path: Path | None = None
    index: int = 0
    video: VideoInfo | None = None
    pixels: np.ndarray | None = None

    def __post_init__(self) -> None:
        shapes = self.boxes.shape, self.labels.shape, self.scores.shape
        num = len(self.labels)
        if shapes != ((num, 4), (num,), (num,)):
            found = ", ".join(map(str, shapes))
            raise ValueError(f"boxes, labels and scores must have shapes (N, 4), (N,) and (N,) with one N; got {found}")
        if num and not 1 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise ValueError(
                f"labels must be 1 to {len(self.class_names) - 1}, as there are names; "
                f"got {self.labels.min()} to {self.labels.max()}"
            )
        if self.pixels is not None and self.pixels.shape[1::-1] != self.orig_size:
            raise ValueError(f"pixels of shape {self.pixels.shape} are not those of a {self.orig_size} image")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> "Detections":
        rows = np.atleast_1d(np.arange(len(self))[rows])  # IndexError if there are not as many
        return replace(self, boxes=self.boxes[rows], labels=self.labels[rows], scores=self.scores[rows])

    def __iter__(self) -> Iterator["Detections"]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        counts = Counter(self.names).most_common()
        found = ", ".join(f"{count} {name}" for name, count in counts) or "nothing"
        return f"<Detections in {self.name}, {self.orig_size[0]} x {self.orig_size[1]}: {found}>"

    @property
    def names(self) -> list[str]:
        """The class of each object."""
        return [self.class_names[label] for label in self.labels]

    @property
    def image(self) -> np.ndarray:
        """The image, RGB uint8 (H, W, 3); read again from its file if its pixels were not kept.

        Raises:
            ImageError: there is no file either, or it cannot be read, or has changed.
        """
        if self.pixels is not None:
            return self.pixels
        if self.path is None:
            raise ImageError(
                f"{self.name}: its pixels were not kept; detect with stream=True and use each result at once"
            )
        image = read_image(self.path)
        if image.shape[1::-1] != self.orig_size:
            raise ImageError(
                f"{self.path}: it was {self.orig_size[0]} x {self.orig_size[1]} pixels when objects were detected and "
                f"is now {image.shape[1]} x {image.shape[0]}; detect again"
            )
        return image

    def filter(
        self, score_threshold: float | None = None, classes: str | int | Collection[str | int] | None = None
    ) -> "Detections":
        """Return the objects that score above a threshold and are of some classes, in their order.

        Args:
            score_threshold: None = any score.
            classes: names or labels, or one of either; None = all.

        Raises:
            ConfigError: there is no such class.
        """
        is_kept = np.ones(len(self), dtype=bool)
        if score_threshold is not None:
            is_kept &= self.scores > score_threshold
        if classes is not None:
            wanted = [classes] if isinstance(classes, str | int) else classes
            is_kept &= np.isin(self.labels, [self._label_of(item) for item in wanted])
        return self[is_kept]

    def draw(self, score_threshold: float = 0.5) -> np.ndarray:
        """Return the image with the boxes of what scores above the threshold: RGB uint8, (H, W, 3).

        Raises:
            ImageError: see ``image``.
        """
        shown = self.filter(score_threshold)
        return draw_detections(self.image, shown.boxes, shown.labels, shown.scores, self.class_names)

    def show(self, out_file: str | os.PathLike[str] | None = None, score_threshold: float = 0.5) -> None:
        """Write the drawn image to a file, in the format that its suffix names, or open it in a window.

        Args:
            out_file: its folder is made if need be; None = this machine's viewer of images.
            score_threshold: draw what scores above this.

        Raises:
            ImageError: see ``image``; or the file cannot be written, or there is no viewer.
        """
        drawn = self.draw(score_threshold)
        if out_file is None:
            if not ImageShow.show(Image.fromarray(drawn), title=self.name):
                raise ImageError(f"{self.name}: no viewer of images found; give show() an out_file")
            return
        path = Path(out_file)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImageError(f"{path.parent}: the folder cannot be made: {error.strerror}") from error
        write_image(drawn, path)

    def to_coco(self, image_id: int, category_ids: Mapping[int, int] | None = None) -> list[dict[str, Any]]:
        """Return a COCO result an object; see ``detection_formats.to_coco``."""
        return detection_formats.to_coco(self, image_id, category_ids)

    def to_voc_xml(self) -> str:
        """Return a Pascal VOC annotation; see ``detection_formats.to_voc_xml``."""
        return detection_formats.to_voc_xml(self)

    def to_json(self) -> str:
        """Return one line of JSON; see ``detection_formats.to_json``."""
        return detection_formats.to_json(self)

    def to_supervision(self) -> Any:
        """Return ``supervision.Detections``; see ``detection_formats.to_supervision``."""
        return detection_formats.to_supervision(self)

    def _label_of(self, item: str | int) -> int:
        if isinstance(item, str) and item in self.class_names[1:]:
            return self.class_names.index(item, 1)
        if not isinstance(item, str) and 1 <= item < len(self.class_names):
            return int(item)
        known = ", ".join(self.class_names[1 : 1 + _SHOWN_CLASSES])
        known += ", ..." if len(self.class_names) > 1 + _SHOWN_CLASSES else ""
        close = difflib.get_close_matches(str(item), self.class_names[1:], n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"labels are 1 to {len(self.class_names) - 1}."
        raise ConfigError(f"unknown class {item!r}: {hint} Known classes: {known}")
