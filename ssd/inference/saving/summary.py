"""How many objects of each class were found, in how many images."""

from collections.abc import Sequence

import numpy as np

from ssd.inference.detections import Detections


class Summary:
    """Counts detections by class.

    Args:
        class_names: index = label, background first.

    Attributes:
        num_images: images and frames so far.
    """

    def __init__(self, class_names: Sequence[str]):
        self.class_names = class_names
        self.num_images = 0
        self._num_detections = np.zeros(len(class_names), np.int64)  # (C,)
        self._num_images_with = np.zeros(len(class_names), np.int64)  # (C,)
        self._num_empty = 0

    def add(self, detections: Detections) -> None:
        """Count what was found in one image."""
        counts = np.bincount(detections.labels, minlength=len(self.class_names))
        self.num_images += 1
        self._num_detections += counts
        self._num_images_with += counts > 0
        self._num_empty += len(detections.labels) == 0

    def table(self) -> str:
        """Return a line for each class that was found, the most frequent first, and one for all together."""
        found = np.flatnonzero(self._num_detections)
        found = found[np.argsort(-self._num_detections[found], kind="stable")].tolist()
        rows = [(self.class_names[n], int(self._num_detections[n]), int(self._num_images_with[n])) for n in found]
        rows.append(("all", int(self._num_detections.sum()), self.num_images - self._num_empty))
        width = max(len("class"), *(len(name) for name, _, _ in rows))
        lines = [f"{name:<{width}}  {detections:>10}  {images:>8}" for name, detections, images in rows]
        return "\n".join([f"{'class':<{width}}  {'detections':>10}  {'images':>8}", *lines])
