"""What the datasets of all formats share once their annotations are read.

Legend: N boxes of the whole dataset, G of one image.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ssd.data.datasets.base import Sample
from ssd.data.datasets.checks import split_by_image
from ssd.data.datasets.sizes import read_annotated_image
from ssd.structures import Container


class ArrayDataset(Dataset[Sample]):
    """Images and boxes whose annotations are flat arrays; see ``DetectionDataset`` for the interface.

    Worker processes share arrays without copying them, which they would lists of objects. Several threads may read it.

    Attributes:
        ids: image id of each image.
        names_are_written: the class names are those of the annotations, nobody fixed them.
        num_listed: number of images that the annotations name, those left out included.
    """

    class_names: tuple[str, ...]
    metric: str
    ids: Sequence[Any]
    names_are_written = False
    num_listed: int
    _image_paths: Sequence[Path]
    _sizes: np.ndarray  # (images, 2) width and height in pixels
    _boxes: np.ndarray  # float32 (N, 4)
    _labels: np.ndarray  # int64 (N,)
    _offsets: np.ndarray  # see split_by_image

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        return self.read_image(index)[0], self.get_target(index), index

    def get_target(self, index: int) -> Container:
        """Return the objects to train on: boxes float32 (G, 4) corner form in pixels, labels int64 (G,)."""
        _, (boxes, labels, *_) = self.get_annotation(index)
        return Container(boxes=boxes, labels=labels)

    def read_image(self, index: int, reduction: int = 1) -> tuple[np.ndarray, int]:
        """Return the image and the reduction that was applied, see ``read_reduced_image``."""
        width, height = self._sizes[index].tolist()
        return read_annotated_image(self.image_path(index), width, height, reduction)

    def image_path(self, index: int) -> Path:
        """Return the file of an image."""
        return self._image_paths[index]

    def get_annotation(self, index: int) -> tuple[Any, tuple[np.ndarray, ...]]:
        """Return (image id, (boxes, labels)).

        Returns:
            boxes float32 (G, 4) corner form in pixels, labels int64 (G,).
        """
        rows = self._rows(index)
        return self.ids[index], (self._boxes[rows].copy(), self._labels[rows].copy())

    def get_img_info(self, index: int) -> dict[str, Any]:
        """Return ``height`` and ``width`` in pixels."""
        width, height = self._sizes[index].tolist()
        return {"height": height, "width": width}

    def relabel(self, class_names: Sequence[str]) -> None:
        """Give the objects the labels that their classes have in ``class_names``, which holds all of them."""
        new_labels: np.ndarray = np.array([class_names.index(name) for name in self.class_names], dtype=np.int64)
        self._labels = new_labels[self._labels]
        self.class_names = tuple(class_names)

    def _rows(self, index: int) -> slice:
        """Where the objects of an image stand."""
        return slice(self._offsets[index], self._offsets[index + 1])

    def _store(self, boxes: np.ndarray, labels: Sequence[int], image_rows: np.ndarray, keep: np.ndarray) -> np.ndarray:
        """Keep the objects that ``keep`` marks and whose class is known.

        Args:
            boxes: float32 (N, 4) corner form in pixels.
            labels: of the objects; 0 for an unknown class.
            image_rows: int (N,) index of each object's image, ascending.
            keep: bool (N,).

        Returns:
            bool (N,): which were kept.
        """
        all_labels: np.ndarray = np.array(labels, dtype=np.int64)
        keep = keep & (all_labels > 0)
        self._boxes, self._labels = boxes[keep], all_labels[keep]
        self._offsets = split_by_image(image_rows[keep], len(self))
        return keep
