"""Datasets in the layout of Pascal VOC: ImageSets/Main/<split>.txt, Annotations/<id>.xml, JPEGImages/<id>.jpg."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ssd.data.datasets.base import Sample
from ssd.data.datasets.checks import (
    MissingPathError,
    check_class_names,
    drop_bad_boxes,
    read_annotated_image,
    require_path,
    split_by_image,
    true_size,
    unknown_class_error,
)
from ssd.data.datasets.voc_xml import VOCAnnotation, read_voc_xml
from ssd.structures import Container
from ssd.utils.errors import DatasetError
from ssd.utils.image import IMAGE_SUFFIXES

# The twenty classes of the 2007 to 2012 challenges, in the order of their labels.
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class VOCDataset(Dataset[Sample]):
    """Images and boxes of one split; see ``DetectionDataset`` for the interface.

    All annotations are read and checked here, once, so that a mistake shows before the training and not in its midst.

    Args:
        data_dir: the folder that holds ImageSets, Annotations and JPEGImages.
        split: name of a file in ImageSets/Main, without ``.txt``.
        class_names: background first; None = the names that occur in the annotations, sorted.
        keep_difficult: give objects that are marked difficult as well; get_annotation always has them.
        metric: see ``DetectionDataset``.

    Attributes:
        names_are_written: the class names are those of the annotations, nobody fixed them.

    Raises:
        DatasetError: a path is missing, or an annotation is malformed or of an unknown class.
    """

    _labels: np.ndarray

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        split: str,
        *,
        class_names: Sequence[str] | None = None,
        keep_difficult: bool = False,
        metric: str = "voc",
    ):
        self.data_dir = Path(data_dir)
        self.split = split
        self.keep_difficult = keep_difficult
        self.metric = metric
        self.ids = self._read_split()
        annotations = self._read_annotations()
        self._image_paths = self._find_images(annotations)
        self._sizes = np.array(
            [
                true_size(item.width, item.height, item.boxes, path)
                for item, path in zip(annotations, self._image_paths, strict=True)
            ]
        )  # (images, 2) width and height in pixels
        self.names_are_written = class_names is None
        if class_names is None:
            written = sorted({name for item in annotations for name in item.names})
            class_names = check_class_names(written, str(self.data_dir))
        self.class_names = tuple(class_names)
        self._set_objects(annotations)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        return self.read_image(index)[0], self.get_target(index), index

    def get_target(self, index: int) -> Container:
        """Return the objects to train on: boxes float32 (G, 4) corner form in pixels, labels int64 (G,)."""
        _, (boxes, labels, is_difficult) = self.get_annotation(index)
        if not self.keep_difficult:
            boxes, labels = boxes[~is_difficult], labels[~is_difficult]
        return Container(boxes=boxes, labels=labels)

    def read_image(self, index: int, reduction: int = 1) -> tuple[np.ndarray, int]:
        """Return the image and the reduction that was applied, see ``read_reduced_image``."""
        width, height = self._sizes[index].tolist()
        return read_annotated_image(self._image_paths[index], width, height, reduction)

    def get_annotation(self, index: int) -> tuple[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return (image id, (boxes, labels, is_difficult)), difficult objects included.

        Returns:
            boxes float32 (G, 4) corner form in pixels, labels int64 (G,), is_difficult bool (G,).
        """
        rows = slice(self._offsets[index], self._offsets[index + 1])
        return self.ids[index], (self._boxes[rows].copy(), self._labels[rows].copy(), self._is_difficult[rows].copy())

    def get_img_info(self, index: int) -> dict[str, Any]:
        """Return ``height`` and ``width`` in pixels."""
        width, height = self._sizes[index].tolist()
        return {"height": height, "width": width}

    def relabel(self, class_names: Sequence[str]) -> None:
        """Give the objects the labels that their classes have in ``class_names``, which holds all of them."""
        new_labels: np.ndarray = np.array([class_names.index(name) for name in self.class_names], dtype=np.int64)
        self._labels = new_labels[self._labels]
        self.class_names = tuple(class_names)

    def _read_split(self) -> list[str]:
        require_path(self.data_dir, "dataset folder")
        path = require_path(self.data_dir / "ImageSets" / "Main" / f"{self.split}.txt", "split file")
        ids = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        if not ids:
            raise DatasetError(f"{path}: the split names no image; write one id a line")
        return ids

    def _read_annotations(self) -> list[VOCAnnotation]:
        folder = require_path(self.data_dir / "Annotations", "annotation folder")
        return [read_voc_xml(require_path(folder / f"{image_id}.xml", "annotation file")) for image_id in self.ids]

    def _find_images(self, annotations: Sequence[VOCAnnotation]) -> list[Path]:
        """The image of each id: named like the id, else as its annotation says; suffixes in upper or lower case."""
        folder = require_path(self.data_dir / "JPEGImages", "image folder")
        names = {name: name for name in os.listdir(folder)}
        names = {name.lower(): name for name in sorted(names)} | names  # a name as written goes before its like
        paths = []
        for image_id, annotation in zip(self.ids, annotations, strict=True):
            wanted = [image_id + suffix for suffix in IMAGE_SUFFIXES] + [annotation.filename]
            wanted += [name.lower() for name in wanted]
            name = next((names[name] for name in wanted if name in names), None)
            if name is None:
                raise MissingPathError(
                    f"the image of {image_id!r} is not in {folder}: looked for {image_id} with suffix "
                    f"{', '.join(IMAGE_SUFFIXES)}, and for its <filename>, {annotation.filename or 'which is empty'}"
                )
            paths.append(folder / name)
        return paths

    def _set_objects(self, annotations: Sequence[VOCAnnotation]) -> None:
        """Keep the objects of all images as flat arrays, which worker processes share without copying."""
        image_rows = np.repeat(np.arange(len(annotations)), [len(item.names) for item in annotations])
        written = np.concatenate([item.boxes for item in annotations])
        boxes, keep = drop_bad_boxes(
            written - 1,  # VOC counts from 1; from all four, as the released weights of lufficc/SSD learnt
            self._sizes[image_rows],
            place=f"{self.data_dir}, split {self.split}",
            describe=lambda row: f"{self.ids[image_rows[row]]}.xml {written[row].tolist()}",
        )
        labels = [label for i, item in enumerate(annotations) for label in self._labels_of(item, i)]
        self._boxes = boxes[keep]
        self._labels = np.array(labels, dtype=np.int64)[keep]
        self._is_difficult = np.concatenate([item.is_difficult for item in annotations])[keep]
        self._offsets = split_by_image(image_rows[keep], len(annotations))

    def _labels_of(self, annotation: VOCAnnotation, index: int) -> list[int]:
        label_of = {name: label for label, name in enumerate(self.class_names) if label > 0}
        labels = []
        for number, name in enumerate(annotation.names, start=1):
            label = label_of.get(name, label_of.get(name.lower()))  # lufficc/SSD lower-cases names
            if label is None:
                path = self.data_dir / "Annotations" / f"{self.ids[index]}.xml"
                place = f"{path}: object {number} of {len(annotation.names)}"
                raise unknown_class_error(place, name, self.class_names)
            labels.append(label)
        return labels
