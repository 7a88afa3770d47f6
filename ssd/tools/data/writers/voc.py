"""The layout of Pascal VOC, see ``VOCDataset``."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ssd.tools.data.writers.content import Content, Record, describe_losses
from ssd.tools.data.writers.numbers import plain, shortest

IMAGE_FOLDER = "JPEGImages"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def write_voc(folder: Path, content: Content) -> list[str]:
    """Write the annotations and lists of a dataset; see ``write_dataset``."""
    annotations, lists = folder / "Annotations", folder / "ImageSets" / "Main"
    annotations.mkdir()
    lists.mkdir(parents=True)
    for record in content.records:
        tree = ElementTree.ElementTree(_annotation(record, content.class_names))
        ElementTree.indent(tree)
        tree.write(annotations / f"{record.stem}.xml", encoding="utf-8")
    for part, rows in content.parts.items():
        (lists / f"{part}.txt").write_text("".join(f"{content.records[row].stem}\n" for row in rows), encoding="utf-8")
    notes = describe_losses(content, difficult=True, crowds=False, outlines=False)
    num_fractions = sum(int((record.boxes % 1 != 0).any(axis=1).sum()) for record in content.records)
    if num_fractions:
        notes.append(
            f"{num_fractions} boxes have fractions of a pixel, which tools that expect whole numbers may refuse."
        )
    return notes


def voc_entry(folder: Path, part: str) -> dict[str, Any]:
    """Return the entry of a part for DATASETS.CUSTOM."""
    return {"FORMAT": "voc", "ROOT": str(folder), "SPLIT": part}


def _annotation(record: Record, class_names: tuple[str, ...]) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    _add(root, "filename", record.name)
    size = ElementTree.SubElement(root, "size")
    for tag, value in (("width", record.width), ("height", record.height), ("depth", 3)):
        _add(size, tag, str(value))
    for box, label, is_difficult in zip(record.boxes, record.labels, record.is_difficult, strict=True):
        node = ElementTree.SubElement(root, "object")
        _add(node, "name", class_names[label - 1])
        _add(node, "difficult", str(int(is_difficult)))
        corners = ElementTree.SubElement(node, "bndbox")
        for tag, value in zip(_CORNERS, box, strict=True):
            _add(corners, tag, plain(shortest(value) + 1))  # VOC counts from 1
    return root


def _add(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = text
