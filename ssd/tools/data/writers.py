"""Write datasets in the formats that can be read: VOC, COCO, YOLO and CSV. G objects of an image."""

import csv
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml

from ssd.data.datasets.sizes import image_size_of
from ssd.tools.data.content import Content, Record
from ssd.utils.errors import DatasetError, OutputError, os_errors_as

FORMATS = ("voc", "coco", "yolo", "csv")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def write_dataset(
    folder: Path, content: Content, format_name: str, *, link: bool = False
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Write a dataset to a new or empty folder, in one of FORMATS; an error leaves nothing behind.

    Boxes read back as the same float32 numbers. With ``link``, images are symbolic links instead of copies. Return
    entries for DATASETS.CUSTOM by the name of the part, and a sentence for each loss of the format.
    """
    write = {"voc": _write_voc, "coco": _write_coco, "yolo": _write_yolo, "csv": _write_csv}[format_name]
    with _new_folder(folder) as draft:
        images = draft / ("JPEGImages" if format_name == "voc" else "images")
        images.mkdir()
        for record in content.records:
            if link:
                (images / record.name).symlink_to(record.path.resolve())
            else:
                shutil.copyfile(record.path, images / record.name)
        write(draft, content)
    entries = {part: _make_entry(folder, part, content, format_name) for part in content.parts}
    return entries, _describe_losses(content, format_name)


def datasets_yaml(folder: Path, entries: Mapping[str, Mapping[str, Any]], *, with_roles: bool = False) -> str:
    """Return the section DATASETS of a config for the entries of a dataset in ``folder`` by the name of the part.

    With ``with_roles``, TRAIN is the first and TEST the second part.
    """
    stem = "".join(letter if letter.isalnum() else "_" for letter in folder.resolve().name) or "own"
    custom = {f"{stem}_{part}": dict(entry) for part, entry in entries.items()}
    section: dict[str, Any] = {"CUSTOM": custom}
    if with_roles:
        section |= {role: [name] for role, name in zip(("TRAIN", "TEST"), custom, strict=False)}
    options: dict[str, Any] = {"default_flow_style": None, "width": 10**6}  # innermost collections on one line
    return yaml.safe_dump({"DATASETS": section}, sort_keys=False, allow_unicode=True, **options)


def make_xml(tag: str, content: object) -> ElementTree.Element:
    """Build an XML element with a text, or with a list of (tag, content) of its children."""
    element = ElementTree.Element(tag)
    if isinstance(content, list):
        element.extend(make_xml(*child) for child in content)
    else:
        element.text = str(content)
    return element


def check_output_folder(folder: Path) -> None:
    """Raise an OutputError if a folder is not empty."""
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists and is not empty; name a new folder")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that replaces ``folder`` at the end of the block, unless there is an error."""
    check_output_folder(folder)
    draft = folder.parent / f".{folder.name}.{os.getpid()}.tmp"
    with os_errors_as(OutputError, folder):
        try:
            draft.mkdir(parents=True)
            yield draft
            if folder.is_dir():
                folder.rmdir()
            os.replace(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _make_entry(folder: Path, part: str, content: Content, format_name: str) -> dict[str, Any]:
    if format_name in ("voc", "yolo"):
        entry: dict[str, Any] = {"FORMAT": format_name, "ROOT": str(folder), "SPLIT": part}
    else:
        file = f"{part}.csv" if format_name == "csv" else f"annotations/instances_{part}.json"
        entry = {"FORMAT": format_name, "IMAGES": str(folder / "images"), "ANNOTATIONS": str(folder / file)}
    if format_name in ("voc", "csv"):  # they have no list of classes
        entry["CLASSES"] = list(content.class_names)
    return entry


def _describe_losses(content: Content, format_name: str) -> list[str]:
    """A sentence for each property of the content that a format does not keep."""
    notes = []
    keeps_coco = format_name == "coco" and content.categories is not None
    num_difficult = sum(int(record.is_difficult.sum()) for record in content.records)
    annotations = [item for record in content.records if record.coco for item in record.coco[1]]
    num_crowds = sum(bool(item["iscrowd"]) for item in annotations)
    num_outlines = sum(bool(item.get("segmentation") and not item["iscrowd"]) for item in annotations)
    num_outlines += content.num_polygons
    num_renamed = sum(record.path.name != record.name for record in content.records)
    if num_difficult and format_name != "voc":
        notes.append(f"{num_difficult} objects are marked difficult; here they are ordinary ones, trained and tested.")
    if num_crowds and not keeps_coco:
        notes.append(f"{num_crowds} regions of crowds are left out; detections in them will count as wrong.")
    if num_outlines and not keeps_coco:
        notes.append(f"{num_outlines} outlines of objects are left out; their boxes are kept.")
    if num_renamed:
        notes.append(f"{num_renamed} images are renamed, for plain names that differ before their suffix.")
    return notes


def _write_voc(folder: Path, content: Content) -> None:
    annotations, lists = folder / "Annotations", folder / "ImageSets" / "Main"
    annotations.mkdir()
    lists.mkdir(parents=True)
    for record in content.records:
        tree = ElementTree.ElementTree(_voc_annotation(record, content.class_names))
        ElementTree.indent(tree)
        tree.write(annotations / f"{record.stem}.xml", encoding="utf-8")
    for part, rows in content.parts.items():
        (lists / f"{part}.txt").write_text("".join(f"{content.records[row].stem}\n" for row in rows), encoding="utf-8")


def _voc_annotation(record: Record, class_names: tuple[str, ...]) -> ElementTree.Element:
    size = [("width", record.width), ("height", record.height), ("depth", 3)]
    fields: list[tuple[str, object]] = [("filename", record.name), ("size", size)]
    for box, label, is_difficult in zip(record.boxes, record.labels, record.is_difficult, strict=True):
        corners = [f"{(_shortest(value) + 1).normalize():f}" for value in box]  # VOC counts from 1
        bndbox = list(zip(_CORNERS, corners, strict=True))
        name = class_names[label - 1]
        fields.append(("object", [("name", name), ("difficult", int(is_difficult)), ("bndbox", bndbox)]))
    return make_xml("annotation", fields)


def _write_coco(folder: Path, content: Content) -> None:
    """Write the annotation files; content that comes from COCO keeps its ids, outlines and other fields."""
    new: list[dict[str, Any]] = [{"id": number, "name": name} for number, name in enumerate(content.class_names, 1)]
    categories = content.categories or new
    category_ids = sorted(category["id"] for category in categories)
    (folder / "annotations").mkdir()
    for part, rows in content.parts.items():
        images, annotations = [], []
        for row in rows:
            record = content.records[row] if content.categories else replace(content.records[row], coco=None)
            image, found = _coco_entries(record, row + 1, category_ids)
            images.append(image)
            annotations += found
        if content.categories is None:
            annotations = [{"id": number, **item} for number, item in enumerate(annotations, start=1)]
        text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
        (folder / f"annotations/instances_{part}.json").write_text(text, encoding="ascii")


def _coco_entries(record: Record, image_id: int, category_ids: list[int]) -> tuple[dict[str, Any], list[dict]]:
    size = {"width": int(record.width), "height": int(record.height)}
    if record.coco is not None:
        image, annotations = record.coco
        known = [annotation for annotation in annotations if annotation["category_id"] in category_ids]
        return {**image, **size, "file_name": record.name}, known
    objects = []
    for box, label in zip(record.boxes, record.labels.tolist(), strict=True):
        xmin, ymin, xmax, ymax = map(_shortest, box)
        x, y, width, height = map(float, (xmin, ymin, xmax - xmin, ymax - ymin))  # x + width is xmax to float32
        entry = {"image_id": image_id, "category_id": category_ids[label - 1], "bbox": [x, y, width, height]}
        objects.append({**entry, "area": width * height, "iscrowd": 0})
    return {"id": image_id, "file_name": record.name, **size}, objects


def _write_yolo(folder: Path, content: Content) -> None:
    """Write rows, a list of images for each part, and data.yaml, on which Ultralytics trains."""
    (folder / "labels").mkdir()
    for record in content.records:
        size = image_size_of(record.path)
        if size != image_size_of(record.path, (record.width, record.height)):
            raise DatasetError(
                f"{record.path}: the boxes are of the pixels as stored, but readers of YOLO turn the image by EXIF; "
                "choose another format"
            )
        rows = zip(record.labels - 1, _centers_and_extents(record.boxes, size), strict=True)
        text = "".join(f"{label} {' '.join(map(repr, box))}\n" for label, box in rows)
        (folder / "labels" / f"{record.stem}.txt").write_text(text, encoding="ascii")
    for part, indices in content.parts.items():
        text = "".join(f"./images/{content.records[row].name}\n" for row in indices)
        (folder / f"{part}.txt").write_text(text, encoding="utf-8")
    lists = {part: f"{part}.txt" for part in content.parts}
    description = {**lists, "nc": len(content.class_names), "names": dict(enumerate(content.class_names))}
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")


def _centers_and_extents(boxes: np.ndarray, size: tuple[int, int]) -> list[list[float]]:
    """Boxes (G, 4) in pixels as centre and extent relative to ``size``, (width, height)."""
    corners = boxes.astype(np.float64)
    centers, extents = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    return (np.concatenate([centers, extents], axis=1) / np.tile(size, 2)).tolist()


def _write_csv(folder: Path, content: Content) -> None:
    """Write tables with the columns of TensorFlow's object detection; an image without objects has an empty row."""
    for part, rows in content.parts.items():
        with open(folder / f"{part}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("filename", "width", "height", "class", *_CORNERS))
            for record in (content.records[row] for row in rows):
                start = (record.name, record.width, record.height)
                for box, label in zip(record.boxes, record.labels.tolist(), strict=True):
                    name = content.class_names[label - 1]
                    writer.writerow((*start, name, *(f"{_shortest(value):f}" for value in box)))
                if not len(record.labels):
                    writer.writerow((*start, "", "", "", "", ""))


def _shortest(value: np.float32) -> Decimal:
    """The shortest decimal number that reads back as the same float32."""
    return Decimal(np.format_float_positional(value, unique=True, trim="-"))
