"""One annotation file of the Pascal VOC layout."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml.common import DefusedXmlException

from ssd.utils.errors import DatasetError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VOCAnnotation:
    """What one file says, as written.

    Attributes:
        width: of the image in pixels; 0 if the file does not say.
        height: likewise.
        filename: of the image; empty if the file does not say.
        names: class of each of G objects, stripped.
        boxes: float64 (G, 4) corner form in pixels, counted from 1.
        is_difficult: bool (G,).
    """

    width: int
    height: int
    filename: str
    names: tuple[str, ...]
    boxes: np.ndarray
    is_difficult: np.ndarray


def read_voc_xml(path: Path) -> VOCAnnotation:
    """Read an annotation file.

    Raises:
        DatasetError: it is no XML, declares entities, lacks a tag, or has a number that is none.
    """
    root = _parse(path)
    objects = root.findall("object")
    places = [f"{path}: object {number} of {len(objects)}" for number in range(1, len(objects) + 1)]
    boxes = [_read_box(node, place) for node, place in zip(objects, places, strict=True)]
    difficult = [_number(node, "difficult", place, default=0) > 0 for node, place in zip(objects, places, strict=True)]
    size = root.find("size")
    return VOCAnnotation(
        width=0 if size is None else int(_number(size, "width", f"{path}: size", default=0)),
        height=0 if size is None else int(_number(size, "height", f"{path}: size", default=0)),
        filename=_text(root, "filename"),
        names=tuple(_read_name(node, place) for node, place in zip(objects, places, strict=True)),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        is_difficult=np.array(difficult, dtype=bool),
    )


def _parse(path: Path) -> Element:
    try:
        root = defusedxml.ElementTree.parse(path).getroot()
    except ParseError as error:
        line, column = error.position
        raise DatasetError(f"{path}: broken XML at line {line}, column {column}: {error.msg}") from error
    except DefusedXmlException as error:
        raise DatasetError(f"{path}: entities are refused in annotations ({error}); write the text out") from error
    except (UnicodeDecodeError, LookupError) as error:
        raise DatasetError(f"{path}: not text in the encoding that it declares: {error}") from error
    if root is None or root.tag != "annotation":
        found = "nothing" if root is None else f"<{root.tag}>"
        raise DatasetError(f"{path}: not a VOC annotation: the outermost tag must be <annotation>, found {found}")
    return root


def _read_name(node: Element, place: str) -> str:
    name = _text(node, "name")
    if not name:
        raise DatasetError(f"{place}: <name> is missing or empty; write the class of the object there")
    return name


def _read_box(node: Element, place: str) -> list[float]:
    box = node.find("bndbox")
    if box is None:
        raise DatasetError(f"{place}: <bndbox> is missing; remove the object or give it {', '.join(_CORNERS)}")
    return [_number(box, tag, f"{place}, <bndbox>") for tag in _CORNERS]


def _number(node: Element, tag: str, place: str, default: float | None = None) -> float:
    """The finite number in ``tag``; ``default`` if the tag is absent or empty."""
    text = _text(node, tag)
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        found = f"is {text!r}" if text else "is missing"
        raise DatasetError(f"{place}: <{tag}> {found}; it must be a number")
    return value


def _text(node: Element, tag: str) -> str:
    return (node.findtext(tag) or "").strip()
