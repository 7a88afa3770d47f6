"""Progress and summary that a long detection prints."""

import sys
import time
from collections import Counter

from tqdm import tqdm

from ssd.inference.detections import Detections, count_objects
from ssd.utils.errors import SSDError
from ssd.utils.logger import say_line

_MAX_LINES = 100  # of images, on a terminal


class Progress:
    """Prints a line for each image; on a terminal a bar, for more than 100 images or an unknown number (None)."""

    def __init__(self, total: int | None):
        self.total = total
        has_bar = sys.stderr.isatty() and (total is None or total > _MAX_LINES)
        self._bar = tqdm(total=total, unit=" images", smoothing=0.05, disable=not has_bar)
        self._start = time.monotonic()
        self._num_done = 0

    def add(self, detections: Detections) -> None:
        """Count an image and print its number of objects by class."""
        self._advance(f"{detections.name}: {count_objects(detections)}")

    def fail(self, error: SSDError) -> None:
        """Count an image that failed and print the reason."""
        self._advance(f"failed: {error}")

    def speed(self) -> str:
        """Return the number of images, their time and the images per second as text."""
        seconds = time.monotonic() - self._start
        rate = f", {self._num_done / seconds:.1f} images/s" if seconds > 0 else ""
        return f"{self._num_done} images in {seconds:.1f} s{rate}"

    def _advance(self, text: str) -> None:
        self._num_done += 1
        self._bar.update()
        if self._bar.disable:
            total = "" if self.total is None else f"/{self.total:04d}"
            say_line(f"({self._num_done:04d}{total}) {text}")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


class Summary:
    """Number of objects of each class, and of the images that show one."""

    def __init__(self) -> None:
        self._num_objects: Counter[str] = Counter()
        self._num_images: Counter[str] = Counter()
        self._num_images_with_any = 0

    def add(self, detections: Detections) -> None:
        """Count the objects of one image."""
        self._num_objects.update(detections.names)
        self._num_images.update(set(detections.names))
        self._num_images_with_any += len(detections) > 0

    def table(self) -> str:
        """Return a line for each class that was found, the most frequent first, and one for all classes."""
        rows = [(name, count, self._num_images[name]) for name, count in self._num_objects.most_common()]
        rows.append(("all", self._num_objects.total(), self._num_images_with_any))
        width = max(len("class"), *(len(name) for name, _, _ in rows))
        lines = [f"{name:<{width}}  {objects:>10}  {images:>8}" for name, objects, images in rows]
        return "\n".join([f"{'class':<{width}}  {'detections':>10}  {'images':>8}", *lines])
