"""What datasets share whose annotations are rows of numbers: YOLO's text files and CSV tables.

Legend: N boxes of the whole dataset, G of one image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ssd.data.datasets.base import Sample
from ssd.data.datasets.checks import check_class_names, drop_bad_boxes, split_by_image, unknown_class_error
from ssd.data.datasets.policy import ErrorPolicy
from ssd.data.datasets.sizes import read_annotated_image
from ssd.structures import Container
from ssd.utils.errors import DatasetError


@dataclass(frozen=True)
class ListedImage:
    """What is annotated of one image.

    Attributes:
        name: by which it is known, its image id.
        path: of its file.
        size: width and height in pixels.
        boxes: float64 (G, 4) corner form in pixels.
        names: class of each object.
        fields: where each object stands, such as "row 7".
        source: the file that says all this.
    """

    name: str
    path: Path
    size: tuple[int, int]
    boxes: np.ndarray
    names: Sequence[str]
    fields: Sequence[str]
    source: Path


class ListedDataset(Dataset[Sample]):
    """Images and boxes that were read from rows; see ``DetectionDataset`` for the interface.

    Args:
        place: what the images were read from, for messages.
        images: those that can be used.
        class_names: background first; None = the names that occur, sorted.
        metric: see ``DetectionDataset``.
        policy: decides about objects of an unknown class.
        num_listed: number of images, those left out included.

    Attributes:
        names_are_written: the class names are those of the annotations, nobody fixed them.

    Raises:
        DatasetError: no image is left, or an object is of an unknown class.
    """

    _labels: np.ndarray

    def __init__(
        self,
        place: Path,
        images: Sequence[ListedImage],
        *,
        class_names: Sequence[str] | None,
        metric: str,
        policy: ErrorPolicy,
        num_listed: int,
    ):
        if not images:
            raise DatasetError(f"{place}: none of {num_listed} images can be used", path=place)
        self.metric = metric
        self.num_listed = num_listed
        self.names_are_written = class_names is None
        if class_names is None:
            class_names = check_class_names(sorted({name for image in images for name in image.names}), str(place))
        self.class_names = tuple(class_names)
        self.ids = [image.name for image in images]
        self._image_paths = [image.path for image in images]
        self._sizes = np.array([image.size for image in images])  # (images, 2) width and height in pixels
        self._set_objects(place, images, policy)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        return self.read_image(index)[0], self.get_target(index), index

    def get_target(self, index: int) -> Container:
        """Return the objects to train on: boxes float32 (G, 4) corner form in pixels, labels int64 (G,)."""
        _, (boxes, labels) = self.get_annotation(index)
        return Container(boxes=boxes, labels=labels)

    def read_image(self, index: int, reduction: int = 1) -> tuple[np.ndarray, int]:
        """Return the image and the reduction that was applied, see ``read_reduced_image``."""
        width, height = self._sizes[index].tolist()
        return read_annotated_image(self._image_paths[index], width, height, reduction)

    def get_annotation(self, index: int) -> tuple[str, tuple[np.ndarray, np.ndarray]]:
        """Return (image id, (boxes, labels)).

        Returns:
            boxes float32 (G, 4) corner form in pixels, labels int64 (G,).
        """
        rows = slice(self._offsets[index], self._offsets[index + 1])
        return self.ids[index], (self._boxes[rows].copy(), self._labels[rows].copy())

    def get_img_info(self, index: int) -> dict[str, Any]:
        """Return ``height`` and ``width`` in pixels."""
        width, height = self._sizes[index].tolist()
        return {"height": height, "width": width}

    def image_path(self, index: int) -> Path:
        """Return the file of an image."""
        return self._image_paths[index]

    def relabel(self, class_names: Sequence[str]) -> None:
        """Give the objects the labels that their classes have in ``class_names``, which holds all of them."""
        new_labels: np.ndarray = np.array([class_names.index(name) for name in self.class_names], dtype=np.int64)
        self._labels = new_labels[self._labels]
        self.class_names = tuple(class_names)

    def _set_objects(self, place: Path, images: Sequence[ListedImage], policy: ErrorPolicy) -> None:
        """Keep the objects of all images as flat arrays, which worker processes share without copying."""
        image_rows = np.repeat(np.arange(len(images)), [len(image.names) for image in images])
        fields = [field for image in images for field in image.fields]
        written = np.concatenate([image.boxes for image in images])

        def note(row: int, problem: str) -> None:
            source, field = images[image_rows[row]].source, fields[row]
            message = f"{source}: {field}: the box {written[row].tolist()} is {problem}"
            policy.note(DatasetError(message, path=source, field=field, kind=f"box {problem}"))

        boxes, keep = drop_bad_boxes(
            written,
            self._sizes[image_rows],
            place=str(place),
            describe=lambda row: f"{images[image_rows[row]].source.name} {fields[row]} {written[row].tolist()}",
            note=note if policy.wants_notes else None,
        )
        self._labels = np.array(_labels(images, self.class_names, policy.reject), dtype=np.int64)
        keep &= self._labels > 0
        self._boxes, self._labels = boxes[keep], self._labels[keep]
        self._offsets = split_by_image(image_rows[keep], len(images))


def _labels(
    images: Sequence[ListedImage], class_names: Sequence[str], reject: Callable[[DatasetError], None]
) -> list[int]:
    """The labels of the objects; 0 for those of an unknown class."""
    label_of = {name: label for label, name in enumerate(class_names) if label > 0}
    labels = []
    for image in images:
        for name, field in zip(image.names, image.fields, strict=True):
            if name not in label_of:
                place = f"{image.source}: {field}"
                reject(unknown_class_error(place, name, class_names, path=image.source, field=field))
            labels.append(label_of.get(name, 0))
    return labels
