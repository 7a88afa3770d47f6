"""Interface of a dataset, and the class that all built-in formats extend. N boxes in all, G boxes of one image."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch.utils.data import Dataset

from ssd.data.datasets.policy import (
    CLIPPED,
    RAISE_ERRORS,
    ErrorPolicy,
    Tally,
    check_boxes,
    check_class_names,
    describe_unknown_class,
    mistake_at,
)
from ssd.data.datasets.sizes import read_annotated_image
from ssd.structures import Container
from ssd.utils.errors import DatasetError

logger = logging.getLogger(__name__)

_SHOWN = 5  # boxes that the warning names

# RGB uint8 (H, W, 3); Container(boxes float32 (G, 4) corner form in pixels, labels int64 (G,)); index of the sample.
Sample = tuple[np.ndarray, Container, int]


class DetectionDataset(Protocol):
    """A map-style dataset of untransformed images and boxes, as the loaders and the evaluation use it.

    Attributes:
        class_names: Name of each label; the first is ``"__background__"``.
        metric: Default metric of the evaluation: "voc07", "voc" or "coco".
    """

    class_names: tuple[str, ...]
    metric: str

    def __len__(self) -> int:
        """Return the number of images, those without objects included."""

    def __getitem__(self, index: int) -> Sample:
        """Return (image, Container(boxes, labels), index)."""

    def get_annotation(self, index: int) -> tuple[Any, tuple[np.ndarray, ...]]:
        """Return (image id, (boxes, labels, ...)), the ground truth of the evaluation."""

    def get_img_info(self, index: int) -> dict[str, Any]:
        """Return at least ``height`` and ``width`` in pixels."""


@dataclass(frozen=True)
class AnnotatedImage:
    """One image and its objects, as the reader of a format returns them."""

    image_id: Any
    path: str | os.PathLike[str]  # image file
    size: tuple[int, int]  # width and height in pixels
    names: Sequence[str]  # class of each object
    boxes: np.ndarray  # float64 (G, 4) corner form in pixels, counted from 0
    source: Path  # annotation file
    fields: Sequence[str]  # place of each object in ``source``, such as "row 7"
    written: Sequence[Any]  # box of each object as ``source`` has it, for messages
    is_difficult: np.ndarray | None = None  # bool (G,); None = no object is difficult


class ArrayDataset(Dataset[Sample]):
    """Images and boxes whose annotations are flat arrays, which worker processes share; fit for several threads.

    Boxes are clipped to their image. Boxes that cannot be learnt are dropped, with one warning that counts them.
    ``class_names`` has the background first; None = the names that occur, sorted. ``place`` is where the images come
    from, for messages; ``num_listed`` the number that the annotations name, skipped ones included (None = all of
    ``images``).
    """

    def __init__(
        self,
        images: Sequence[AnnotatedImage],
        *,
        class_names: Sequence[str] | None,
        metric: str,
        place: object,
        policy: ErrorPolicy = RAISE_ERRORS,
        num_listed: int | None = None,
        tallies: Sequence[Tally] = (),
    ):
        self.num_listed = len(images) if num_listed is None else num_listed
        self.tallies = [tally for tally in tallies if tally.count]
        if not images:
            message = "; ".join([f"{place}: none of {self.num_listed} images can be used", *map(str, self.tallies)])
            raise policy.explain(DatasetError(message))
        self.names_are_written = class_names is None  # in the annotations
        if class_names is None:
            class_names = check_class_names(sorted({name for image in images for name in image.names}), place)
        self.class_names = tuple(class_names)
        self.metric = metric
        self._labels: np.ndarray
        self.ids = [image.image_id for image in images]
        self._image_paths = [os.fspath(image.path) for image in images]
        self._sizes = np.array([image.size for image in images])  # (images, 2) width and height
        self._set_objects(images, policy, place)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        return self.read_image(index)[0], self.get_target(index), index

    def summary(self) -> str:
        """Return the numbers of images and objects, and of what else was found."""
        return "; ".join([f"{len(self)} images, {len(self._boxes)} objects", *map(str, self.tallies)])

    def get_target(self, index: int) -> Container:
        """Return the objects to train on: boxes float32 (G, 4) corner form in pixels, labels int64 (G,)."""
        _, (boxes, labels, *_) = self.get_annotation(index)
        return Container(boxes=boxes, labels=labels)

    def read_image(self, index: int, reduction: int = 1) -> tuple[np.ndarray, int]:
        """Return the image and the reduction that was applied, see ``read_reduced_image``."""
        width, height = self._sizes[index].tolist()
        boxes = self._boxes[self._rows(index)]
        return read_annotated_image(self.image_path(index), (width, height), boxes, reduction)

    def image_path(self, index: int) -> Path:
        """Return the file of an image."""
        return Path(self._image_paths[index])

    def get_annotation(self, index: int) -> tuple[Any, tuple[np.ndarray, ...]]:
        """Return (image id, (boxes float32 (G, 4) corner form in pixels, labels int64 (G,)))."""
        rows = self._rows(index)
        return self.ids[index], (self._boxes[rows].copy(), self._labels[rows].copy())

    def get_img_info(self, index: int) -> dict[str, Any]:
        """Return ``height`` and ``width`` in pixels."""
        width, height = self._sizes[index].tolist()
        return {"height": height, "width": width}

    def relabel(self, class_names: Sequence[str]) -> None:
        """Replace the class names by a list that holds all of them, and the labels by those of this list."""
        new_labels: np.ndarray = np.array([class_names.index(name) for name in self.class_names], dtype=np.int64)
        self._labels = new_labels[self._labels]
        self.class_names = tuple(class_names)

    def _rows(self, index: int) -> slice:
        return slice(self._offsets[index], self._offsets[index + 1])

    def _set_objects(self, images: Sequence[AnnotatedImage], policy: ErrorPolicy, place: object) -> None:
        counts = [len(image.names) for image in images]
        image_rows = np.repeat(np.arange(len(images)), counts)
        boxes, keep, problems = check_boxes(
            np.concatenate([image.boxes for image in images]), self._sizes[image_rows].reshape(-1, 2)
        )
        starts = np.cumsum([0, *counts])
        found = []
        for row, problem in problems.items():
            image = images[image_rows[row]]
            number = row - starts[image_rows[row]]
            found.append((image.source, image.fields[number], image.written[number], problem))
        self._report_boxes(found, len(boxes), policy, place)
        labels = self._labels_of(images, policy)
        is_difficult = np.concatenate(
            [np.zeros(len(i.names), bool) if i.is_difficult is None else i.is_difficult for i in images]
        )
        keep &= labels > 0
        self._boxes, self._labels, self._is_difficult = boxes[keep], labels[keep], is_difficult[keep]
        self._offsets = np.cumsum([0, *np.bincount(image_rows[keep], minlength=len(images))])

    @staticmethod
    def _report_boxes(
        found: list[tuple[Path, str, Any, str]], num_boxes: int, policy: ErrorPolicy, place: object
    ) -> None:
        """Report boxes with a problem, given as (source, field, written, problem)."""
        dropped = [item for item in found if item[3] != CLIPPED]
        if policy.wants_notes:
            for source, field, written, problem in found:
                policy.note(mistake_at(source, field, f"the box {written} is {problem}", kind=f"box {problem}"))
        elif dropped:
            shown = [f"{source.name}: {field} {written} is {problem}" for source, field, written, problem in dropped]
            rest = "; ..." if len(dropped) > _SHOWN else ""
            logger.warning(
                "%s: %d of %d boxes dropped: %s%s", place, len(dropped), num_boxes, "; ".join(shown[:_SHOWN]), rest
            )

    def _labels_of(self, images: Sequence[AnnotatedImage], policy: ErrorPolicy) -> np.ndarray:
        """Return the labels of the objects, int64 (N,); 0 for objects of an unknown class."""
        label_of = {name: label for label, name in enumerate(self.class_names) if label > 0}
        labels = []
        for image in images:
            for name, field in zip(image.names, image.fields, strict=True):
                if name not in label_of:
                    message = describe_unknown_class(name, self.class_names)
                    policy.reject(mistake_at(image.source, field, message, kind="unknown class"))
                labels.append(label_of.get(name, 0))
        return np.array(labels, dtype=np.int64)
