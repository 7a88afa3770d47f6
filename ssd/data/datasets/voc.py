"""Datasets in the layout of Pascal VOC: ImageSets/Main/<split>.txt, Annotations/<id>.xml, JPEGImages/<id>.jpg."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from ssd.data.datasets.base import AnnotatedImage, ArrayDataset
from ssd.data.datasets.folders import Layout, folders_in, has_images, has_suffix, is_usual_split
from ssd.data.datasets.paths import (
    MissingPathError,
    files_below,
    find_file,
    names_in,
    path_inside,
    read_lines,
    read_xml,
    require_path,
)
from ssd.data.datasets.policy import (
    RAISE_ERRORS,
    ErrorPolicy,
    Tally,
    check_unit,
    mistake_at,
    read_number,
    tally_unmatched,
)
from ssd.data.datasets.sizes import MISSING, true_size
from ssd.structures import Container
from ssd.structures.class_names import BACKGROUND
from ssd.utils.errors import DatasetError, shorten
from ssd.utils.image import IMAGE_SUFFIXES

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VOCDataset(ArrayDataset):
    """Images and boxes of one split, or without ``split`` of every annotation of the folder; see ``ArrayDataset``.

    ``images`` and ``annotations`` are folders in ``data_dir``, "." = that itself. ``get_annotation`` has the objects
    that are marked difficult; samples have them with ``keep_difficult``.
    """

    inclusive_pixels = True  # x2 and y2 are the last pixel inside the box, which counts in its IoU

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
        self.keep_difficult = keep_difficult
        listed = _ids_in_folder(self.data_dir / annotations) if split is None else _ids_in_split(self.data_dir, split)
        annotation_folder = require_path(self.data_dir / annotations, "annotation folder")
        image_folder = require_path(self.data_dir / images, "image folder")
        found, used, missing = [], set(), []
        for image_id in listed:
            try:
                annotation = read_voc_xml(self._annotation_path(annotation_folder, image_id))
                path = _find_image(image_id, annotation, image_folder)
                if path is None and split is None:
                    missing.append(annotation)
                    continue
                if path is None:
                    raise _missing_image(annotation, image_folder)
                used.add(os.path.abspath(path))
                for mistake in annotation.mistakes:
                    policy.reject(mistake)
                check_unit(annotation.boxes, annotation.path)
                found.append(_to_image(image_id, annotation, Path(path), class_names, policy))
            except DatasetError as error:
                policy.reject(error)
        super().__init__(
            found,
            class_names=class_names,
            metric=metric,
            place=self.data_dir if split is None else f"{self.data_dir}, split {split}",
            policy=policy,
            num_listed=len(listed),
            tallies=_tally_others(used, missing, image_folder) if split is None else (),
        )

    def get_target(self, index: int) -> Container:
        """Return the objects to train on."""
        _, (boxes, labels, is_difficult) = self.get_annotation(index)
        if not self.keep_difficult:
            boxes, labels = boxes[~is_difficult], labels[~is_difficult]
        return Container(boxes=boxes, labels=labels)

    def get_annotation(self, index: int) -> tuple[str, tuple[np.ndarray, ...]]:
        """Return (image id, (boxes, labels, is_difficult bool (G,))), difficult objects included."""
        image_id, (boxes, labels) = super().get_annotation(index)
        return image_id, (boxes, labels, self._is_difficult[self._rows(index)].copy())

    def _annotation_path(self, folder: Path, image_id: str) -> Path:
        name = f"{image_id}.xml"
        path = find_file(str(folder), [name]) or path_inside(str(folder), name)
        if path is None:
            split = _split_file(self.data_dir, self.split or "")
            raise DatasetError(f"{split}: the id {shorten(image_id)} is not a file name in {folder}", path=split)
        return Path(path)


def _ids_in_folder(folder: Path) -> list[str]:
    ids = sorted(name[:-4] for name in _xmls_below(require_path(folder, "annotation folder")))
    if not ids:
        raise DatasetError(f"{folder}: no annotation (.xml) in this folder", path=folder)
    return ids


def _xmls_below(folder: Path) -> list[str]:
    return [name for name in files_below(folder) if name.lower().endswith(".xml")]


def _ids_in_split(root: Path, split: str) -> list[str]:
    path = _split_file(require_path(root, "dataset folder"), split)
    ids = read_lines(path, "split file")
    if not ids:
        raise DatasetError(f"{path}: the split names no image; write one id per line", path=path)
    return ids


def _split_file(root: Path, split: str) -> Path:
    return root / "ImageSets" / "Main" / f"{split}.txt"


def _find_image(image_id: str, annotation: "VOCAnnotation", folder: Path) -> str | None:
    """Return the path of the image of an id: named like the id, else as its annotation says."""
    names = [image_id + suffix for suffix in IMAGE_SUFFIXES]
    if filename := annotation.filename:
        names += [filename, f"{annotation.folder}/{filename}", PureWindowsPath(filename).name]
    return find_file(str(folder), names)


def _missing_image(annotation: "VOCAnnotation", folder: Path) -> MissingPathError:
    image_id, filename = annotation.path.stem, annotation.filename or "which is empty"
    wanted = f"{image_id} with suffix {', '.join(IMAGE_SUFFIXES)}, and for its <filename>, {filename}"
    problem = f"the image of {image_id!r} is not in {folder}: looked for {wanted}"
    return MissingPathError(problem, path=annotation.path, kind=MISSING)


def _tally_others(used: set[str], missing: Sequence["VOCAnnotation"], folder: Path) -> list[Tally]:
    """Count images without annotation, annotations without image, and files with other suffixes."""
    unused = [name for name in files_below(folder) if os.path.abspath(folder / name) not in used]
    num_images = sum(name.lower().endswith(IMAGE_SUFFIXES) for name in unused)
    example = str(_missing_image(missing[0], folder)) if missing else ""
    return tally_unmatched(num_images, [len(annotation.names) for annotation in missing], example, unused)


def _to_image(
    image_id: str, annotation: "VOCAnnotation", path: Path, class_names: Sequence[str] | None, policy: ErrorPolicy
) -> AnnotatedImage:
    size = true_size(annotation.width, annotation.height, annotation.boxes, path, policy)
    known = class_names or annotation.names
    return AnnotatedImage(
        image_id,
        path,
        size,
        # lufficc/SSD reads names in lower case
        names=[name.lower() if name not in known and name.lower() in known else name for name in annotation.names],
        boxes=annotation.boxes - 1,  # VOC counts from 1; all four, as the released weights of lufficc/SSD learnt
        source=annotation.path,
        fields=annotation.fields,
        written=annotation.boxes.tolist(),
        is_difficult=annotation.is_difficult,
    )


@dataclass(frozen=True)
class VOCAnnotation:
    """Content of an annotation file with G objects, as written."""

    path: Path
    width: int  # of the image in pixels; 0 = missing
    height: int
    filename: str  # of the image; empty = missing
    folder: str  # of the image, such as VOC2007; empty = missing
    names: tuple[str, ...]  # class of each object, stripped
    boxes: np.ndarray  # float64 (G, 4) corner form in pixels, counted from 1
    is_difficult: np.ndarray  # bool (G,)
    fields: tuple[str, ...]  # place of each object in the file, such as "object 2 of 7"
    mistakes: tuple[DatasetError, ...]  # of the objects that are left out, and of a malformed size


def read_voc_xml(path: Path) -> VOCAnnotation:
    """Read an annotation file; DatasetError if it is not XML, declares entities, or is not an annotation."""
    root = read_xml(path, "annotation file")
    if root is None or root.tag != "annotation":
        found = "nothing" if root is None else f"<{shorten(root.tag)[1:-1]}>"
        message = f"{path}: not a VOC annotation: the outermost tag must be <annotation>, found {found}"
        raise DatasetError(message, path=path)
    nodes = root.findall("object")
    objects, fields, mistakes = [], [], []
    for number, node in enumerate(nodes, start=1):
        field = f"object {number} of {len(nodes)}"
        try:
            objects.append(_read_object(node))
            fields.append(field)
        except ValueError as error:
            mistakes.append(mistake_at(path, field, error))
    width = height = 0
    try:
        width, height = (int(_number(root, f"size/{side}", default=0)) for side in ("width", "height"))
    except ValueError as error:
        mistakes.append(mistake_at(path, "size", error))
    return VOCAnnotation(
        path=path,
        width=width,
        height=height,
        filename=_text(root, "filename"),
        folder=_text(root, "folder"),
        names=tuple(name for name, _, _ in objects),
        boxes=np.array([box for _, box, _ in objects], dtype=np.float64).reshape(-1, 4),
        is_difficult=np.array([is_difficult for _, _, is_difficult in objects], dtype=bool),
        fields=tuple(fields),
        mistakes=tuple(mistakes),
    )


def _read_object(node: Element) -> tuple[str, list[float], bool]:
    """Return name, corners and difficult flag. Raise ValueError for a malformed object."""
    name = _text(node, "name")
    if not name:
        raise ValueError("<name> is missing or empty; write the class of the object there")
    if name == BACKGROUND:
        raise ValueError(f"<name> is {BACKGROUND}, which no object can be; remove the object")
    box = node.find("bndbox")
    if box is None:
        raise ValueError(f"<bndbox> is missing; remove the object or give it {', '.join(_CORNERS)}")
    return name, [_number(box, tag) for tag in _CORNERS], _number(node, "difficult", default=0) > 0


def _number(node: Element, tag: str, default: float | None = None) -> float:
    """Return the number in ``tag``; ``default`` if the tag is missing or empty."""
    text = _text(node, tag)
    return default if not text and default is not None else read_number(text, f"<{tag}>")


def _text(node: Element, tag: str) -> str:
    return (node.findtext(tag) or "").strip()


def find_voc(root: Path) -> Layout | None:
    """Look for the layout of VOC, and for .xml files next to images, as LabelImg and Roboflow write them."""
    folders = {folder.name.lower(): folder.name for folder in folders_in(root)}
    annotations = next((folders[name] for name in ("annotations", "xmls", "labels") if name in folders), None)
    images = next((folders[name] for name in ("jpegimages", "images", "img") if name in folders), None)
    entries: dict[str | None, Any]
    if annotations and images and (xmls := _xmls_below(root / annotations)):
        entry: dict[str, Any] = {"FORMAT": "voc", "ROOT": str(root)}
        if (annotations, images) != ("Annotations", "JPEGImages"):
            entry |= {"IMAGES": images, "ANNOTATIONS": annotations}
        lists = root / "ImageSets" / "Main"
        splits = [name[:-4] for name in names_in(lists) if name.endswith(".txt") and _lists_ids(lists / name)]
        entries = {split: {**entry, "SPLIT": split} for split in splits} or {None: entry}
        parts = {Path(name).parts[0] for name in xmls}
        if not splits and all(is_usual_split(part) and (root / images / part).is_dir() for part in parts):
            folders_of = {
                part: {"IMAGES": f"{images}/{part}", "ANNOTATIONS": f"{annotations}/{part}"} for part in parts
            }
            entries = {part: {**entry, **folders_of[part]} for part in sorted(parts)}
    else:
        folders_below = (root, *folders_in(root), *folders_in(root / "images"))  # the last in TensorFlow's tutorial
        mixed = [folder for folder in folders_below if has_suffix(folder, ".xml") and has_images(folder)]
        options = {"FORMAT": "voc", "IMAGES": ".", "ANNOTATIONS": "."}
        if root in mixed:
            entries = {None: {**options, "ROOT": str(root)}}
        else:
            entries = {folder.name: {**options, "ROOT": str(folder)} for folder in mixed}
    return Layout("VOC", str(root), entries) if entries else None


def _lists_ids(path: Path) -> bool:
    """Return whether a file lists ids. The lists of one class, such as cat_train.txt, have a flag behind each id."""
    try:
        with open(path, "rb") as file:
            return len(file.readline(1000).split()) == 1
    except OSError:
        return False
