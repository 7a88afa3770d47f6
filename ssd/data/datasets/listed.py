"""What datasets share whose annotations are rows of numbers: YOLO's text files and CSV tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssd.data.datasets.array_dataset import ArrayDataset
from ssd.data.datasets.checks import check_class_names, drop_bad_boxes, unknown_class_error
from ssd.data.datasets.policy import ErrorPolicy
from ssd.utils.errors import DatasetError


@dataclass(frozen=True)
class ListedImage:
    """What is annotated of one image.

    Attributes:
        name: by which it is known, its image id.
        path: of its file.
        size: width and height in pixels.
        boxes: float64 (G, 4) corner form in pixels, G objects.
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


class ListedDataset(ArrayDataset):
    """Images and boxes that were read from rows; see ``ArrayDataset``.

    Args:
        place: what the images were read from, for messages.
        images: those that can be used.
        class_names: background first; None = the names that occur, sorted.
        metric: see ``DetectionDataset``.
        policy: decides about objects of an unknown class.
        num_listed: number of images, those left out included.

    Raises:
        DatasetError: no image is left, or an object is of an unknown class.
    """

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
        self._sizes = np.array([image.size for image in images])
        self._set_objects(place, images, policy)

    def _set_objects(self, place: Path, images: Sequence[ListedImage], policy: ErrorPolicy) -> None:
        """Keep the objects of all images."""
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
        self._store(boxes, _labels(images, self.class_names, policy.reject), image_rows, keep)


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
