"""One text file an image, in the format of YOLO's labels with scores."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssd.inference.detections import Detections
from ssd.inference.saving.names import OutputNames
from ssd.utils.errors import ImageError, OutputError, os_errors_as

_CLASSES = "classes"


class TxtFolder:
    """Writes a file an image (or frame) with a line a detection: class, centre x, centre y, width, height, score.

    Classes count from 0, without background; classes.txt names them, one a line. Coordinates are relative to the image
    and clipped to it. An image without detections gets an empty file.

    Args:
        folder: gets the files; created now.
        class_names: background first.

    Raises:
        OutputError: the folder cannot be created.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]):
        self.folder = folder
        self._names = OutputNames(reserved=(_CLASSES,))
        with os_errors_as(OutputError, folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{_CLASSES}.txt").write_text("".join(f"{name}\n" for name in class_names[1:]), encoding="utf-8")

    def add(self, detections: Detections) -> None:
        """Write the file of one image.

        Raises:
            ImageError: it cannot be written.
        """
        path = self.folder / self._names.text(detections)
        with os_errors_as(ImageError, path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yolo_lines(detections), encoding="utf-8")


def yolo_lines(detections: Detections) -> str:
    """Return a line a detection, best first: "CLASS X Y WIDTH HEIGHT SCORE", see ``TxtFolder``.

    What lies outside the image is left out.
    """
    width, height = detections.orig_size
    size = np.array([width, height, width, height])
    clipped = np.clip(detections.boxes.astype(np.float64) / size, 0, 1)  # (N, 4)
    center, extent = (clipped[:, :2] + clipped[:, 2:]) / 2, clipped[:, 2:] - clipped[:, :2]  # (N, 2) each
    return "".join(
        f"{label - 1} {x:.6f} {y:.6f} {w:.6f} {h:.6f} {score:.6f}\n"
        for label, (x, y), (w, h), score in zip(detections.labels, center, extent, detections.scores, strict=True)
        if w > 0 and h > 0
    )
