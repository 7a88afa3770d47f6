"""Datasets in the layout of Pascal VOC: ImageSets/Main/<split>.txt, Annotations/<id>.xml, JPEGImages/<id>.jpg."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ssd.data.datasets.array_dataset import ArrayDataset
from ssd.data.datasets.checks import check_class_names, drop_bad_boxes, unknown_class_error
from ssd.data.datasets.paths import MissingPathError, path_inside, read_file, require_path
from ssd.data.datasets.policy import RAISE_ERRORS, ErrorPolicy
from ssd.data.datasets.sizes import MISSING, true_size
from ssd.data.datasets.voc_xml import VOCAnnotation, read_voc_xml
from ssd.structures import Container
from ssd.utils.errors import DatasetError, shorten
from ssd.utils.image import IMAGE_SUFFIXES

# The twenty classes of the 2007 to 2012 challenges, in the order of their labels.
VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class VOCDataset(ArrayDataset):
    """Images and boxes of one split; see ``ArrayDataset``.

    All annotations are read and checked here, once, so that a mistake shows before the training and not in its midst.

    Args:
        data_dir: the folder that holds ImageSets, Annotations and JPEGImages.
        split: name of a file in ImageSets/Main, without ``.txt``; None = every annotation of the folder.
        class_names: background first; None = the names that occur in the annotations, sorted.
        keep_difficult: give objects that are marked difficult as well; get_annotation always has them.
        metric: see ``DetectionDataset``.
        policy: decides about malformed objects and annotations, and images that are missing.
        images: folder of the images inside ``data_dir``; "." = ``data_dir`` itself.
        annotations: likewise of the annotations.

    Raises:
        DatasetError: a path is missing, or an annotation is malformed or of an unknown class.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        split: str | None,
        *,
        class_names: Sequence[str] | None = None,
        keep_difficult: bool = False,
        metric: str = "voc",
        policy: ErrorPolicy = RAISE_ERRORS,
        images: str = "JPEGImages",
        annotations: str = "Annotations",
    ):
        self.data_dir = Path(data_dir)
        self.split = split
        self._image_folder = self.data_dir / images
        self._annotation_folder = self.data_dir / annotations
        self.keep_difficult = keep_difficult
        self.metric = metric
        listed = self._all_ids() if split is None else self._read_split()
        self.num_listed = len(listed)
        self.ids, self._image_paths, found, sizes = self._read_annotations(listed, policy)
        self._sizes = np.array(sizes)
        self.names_are_written = class_names is None
        if class_names is None:
            written = sorted({name for item in found for name in item.names})
            class_names = check_class_names(written, str(self.data_dir))
        self.class_names = tuple(class_names)
        self._set_objects(found, policy)

    @property
    def _place(self) -> str:
        """For messages."""
        return f"{self.data_dir}" if self.split is None else f"{self.data_dir}, split {self.split}"

    def get_target(self, index: int) -> Container:
        """Return the objects to train on: boxes float32 (G, 4) corner form in pixels, labels int64 (G,)."""
        _, (boxes, labels, is_difficult) = self.get_annotation(index)
        if not self.keep_difficult:
            boxes, labels = boxes[~is_difficult], labels[~is_difficult]
        return Container(boxes=boxes, labels=labels)

    def get_annotation(self, index: int) -> tuple[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return (image id, (boxes, labels, is_difficult)), difficult objects included.

        Returns:
            boxes float32 (G, 4) corner form in pixels, labels int64 (G,), is_difficult bool (G,).
        """
        image_id, (boxes, labels) = super().get_annotation(index)
        return image_id, (boxes, labels, self._is_difficult[self._rows(index)].copy())

    def _all_ids(self) -> list[str]:
        folder = require_path(self._annotation_folder, "annotation folder")
        ids = sorted(name[:-4] for name in os.listdir(folder) if name.lower().endswith(".xml"))
        if not ids:
            raise DatasetError(f"{folder}: no annotation there, which would end in .xml", path=folder)
        return ids

    def _read_split(self) -> list[str]:
        require_path(self.data_dir, "dataset folder")
        path = self.data_dir / "ImageSets" / "Main" / f"{self.split}.txt"
        try:
            text = read_file(path, "split file").decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DatasetError(f"{path}: not UTF-8 text: {error}; write one id a line", path=path) from error
        ids = [line.strip() for line in text.splitlines() if line.strip()]
        if not ids:
            raise DatasetError(f"{path}: the split names no image; write one id a line", path=path)
        return ids

    def _read_annotations(
        self, listed: Sequence[str], policy: ErrorPolicy
    ) -> tuple[list[str], list[Path], list[VOCAnnotation], list[tuple[int, int]]]:
        """Ids, image files, annotations and sizes of the images that can be used."""
        require_path(self._annotation_folder, "annotation folder")
        files = _listing(require_path(self._image_folder, "image folder"))
        found = []
        for image_id in listed:
            try:
                annotation = read_voc_xml(self._annotation_path(image_id), policy.reject)
                path = self._find_image(image_id, annotation, files)
                size = true_size(annotation.width, annotation.height, annotation.boxes, path, policy)
            except DatasetError as error:
                policy.reject(error)
            else:
                found.append((image_id, path, annotation, size))
        if not found:
            raise DatasetError(f"{self._place}: none of {len(listed)} images can be used")
        ids, paths, annotations, sizes = map(list, zip(*found, strict=True))
        return ids, paths, annotations, sizes

    def _annotation_path(self, image_id: str) -> Path:
        folder = self._annotation_folder
        path = path_inside(str(folder), f"{image_id}.xml")
        if path is None:
            split = self.data_dir / "ImageSets" / "Main" / f"{self.split}.txt"
            raise DatasetError(f"{split}: the id {shorten(image_id)} is no name of a file in {folder}", path=split)
        return Path(path)

    def _find_image(self, image_id: str, annotation: VOCAnnotation, files: Mapping[str, str]) -> Path:
        """The image of an id: named like the id, else as its annotation says; suffixes in upper or lower case."""
        folder = self._image_folder
        wanted = [image_id + suffix for suffix in IMAGE_SUFFIXES] + [annotation.filename]
        wanted += [name.lower() for name in wanted]
        name = next((files[name] for name in wanted if name in files), None)
        if name is None:
            raise MissingPathError(
                f"the image of {image_id!r} is not in {folder}: looked for {image_id} with suffix "
                f"{', '.join(IMAGE_SUFFIXES)}, and for its <filename>, {annotation.filename or 'which is empty'}",
                path=self._annotation_path(image_id),
                kind=MISSING,
            )
        return folder / name

    def _set_objects(self, annotations: Sequence[VOCAnnotation], policy: ErrorPolicy) -> None:
        """Keep the objects of all images."""
        image_rows = np.repeat(np.arange(len(annotations)), [len(item.names) for item in annotations])
        fields = [field for item in annotations for field in item.fields]
        written = np.concatenate([item.boxes for item in annotations])

        def note(row: int, problem: str) -> None:
            path, field = self._annotation_path(self.ids[image_rows[row]]), f"{fields[row]}, <bndbox>"
            message = f"{path}: {field}: the box {written[row].tolist()} is {problem}"
            policy.note(DatasetError(message, path=path, field=field, kind=f"box {problem}"))

        boxes, keep = drop_bad_boxes(
            written - 1,  # VOC counts from 1; from all four, as the released weights of lufficc/SSD learnt
            self._sizes[image_rows],
            place=self._place,
            describe=lambda row: f"{self.ids[image_rows[row]]}.xml {written[row].tolist()}",
            note=note if policy.wants_notes else None,
        )
        labels = [label for i, item in enumerate(annotations) for label in self._labels_of(item, i, policy)]
        is_difficult = np.concatenate([item.is_difficult for item in annotations])
        self._is_difficult = is_difficult[self._store(boxes, labels, image_rows, keep)]

    def _labels_of(self, annotation: VOCAnnotation, index: int, policy: ErrorPolicy) -> list[int]:
        """The labels of the objects; 0 for those of an unknown class."""
        label_of = {name: label for label, name in enumerate(self.class_names) if label > 0}
        labels = []
        for field, name in zip(annotation.fields, annotation.names, strict=True):
            label = label_of.get(name, label_of.get(name.lower()))  # lufficc/SSD lower-cases names
            if label is None:
                path = self._annotation_path(self.ids[index])
                policy.reject(unknown_class_error(f"{path}: {field}", name, self.class_names, path=path, field=field))
            labels.append(label or 0)
        return labels


def _listing(folder: Path) -> dict[str, str]:
    """The names in a folder by themselves, and by their lower case; a name as written goes before its like."""
    names = {name: name for name in os.listdir(folder)}
    return {name.lower(): name for name in sorted(names)} | names
