"""One annotation file of the Pascal VOC layout."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml.common import DefusedXmlException

from ssd.data.datasets.base import BACKGROUND
from ssd.data.datasets.checks import MAX_COORDINATE
from ssd.data.datasets.paths import read_file
from ssd.data.datasets.policy import RAISE_ERRORS
from ssd.utils.errors import DatasetError, shorten

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
        fields: where in the file each object stands, such as "object 2 of 7".
    """

    width: int
    height: int
    filename: str
    names: tuple[str, ...]
    boxes: np.ndarray
    is_difficult: np.ndarray
    fields: tuple[str, ...]


class _Place(NamedTuple):
    """Where in which file something stands."""

    path: Path
    field: str

    def error(self, message: str) -> DatasetError:
        return DatasetError(f"{self.path}: {self.field}{message}", path=self.path, field=self.field)


class _Object(NamedTuple):
    name: str
    box: list[float]
    is_difficult: bool
    field: str


def read_voc_xml(path: Path, reject: Callable[[DatasetError], None] = RAISE_ERRORS.reject) -> VOCAnnotation:
    """Read an annotation file.

    Args:
        path: the file.
        reject: gets the error of a malformed object or size, which is left out if this returns.

    Raises:
        MissingPathError: there is no such file.
        DatasetError: it is no XML, or declares entities; or ``reject`` raises that it lacks a tag, or has a number
            that is none.
    """
    root = _parse(path)
    nodes = root.findall("object")
    objects = []
    for number, node in enumerate(nodes, start=1):
        try:
            objects.append(_read_object(node, _Place(path, f"object {number} of {len(nodes)}")))
        except DatasetError as error:
            reject(error)
    try:
        width, height = _read_size(root, _Place(path, "size"))
    except DatasetError as error:
        reject(error)
        width = height = 0
    return VOCAnnotation(
        width=width,
        height=height,
        filename=_text(root, "filename"),
        names=tuple(item.name for item in objects),
        boxes=np.array([item.box for item in objects], dtype=np.float64).reshape(-1, 4),
        is_difficult=np.array([item.is_difficult for item in objects], dtype=bool),
        fields=tuple(item.field for item in objects),
    )


def _parse(path: Path) -> Element:
    content = read_file(path, "annotation file")
    try:
        root = defusedxml.ElementTree.fromstring(content)
    except ParseError as error:
        line, column = error.position
        message = f"{path}: broken XML at line {line}, column {column}: {error.msg}"
        raise DatasetError(message, path=path, field=f"line {line}") from error
    except DefusedXmlException as error:
        message = f"{path}: entities are refused in annotations ({error}); write the text out"
        raise DatasetError(message, path=path) from error
    except (ValueError, LookupError) as error:  # of the encoding
        raise DatasetError(f"{path}: not text in the encoding that it declares: {error}", path=path) from error
    if root is None or root.tag != "annotation":
        found = "nothing" if root is None else f"<{shorten(root.tag)[1:-1]}>"
        message = f"{path}: not a VOC annotation: the outermost tag must be <annotation>, found {found}"
        raise DatasetError(message, path=path)
    return root


def _read_object(node: Element, place: _Place) -> _Object:
    name = _text(node, "name")
    if not name:
        raise place.error(": <name> is missing or empty; write the class of the object there")
    if name == BACKGROUND:
        raise place.error(f": <name> is {BACKGROUND}, which no object can be; remove the object")
    box = node.find("bndbox")
    if box is None:
        raise place.error(f": <bndbox> is missing; remove the object or give it {', '.join(_CORNERS)}")
    corners = _Place(place.path, f"{place.field}, <bndbox>")
    is_difficult = _number(node, "difficult", place, default=0) > 0
    return _Object(name, [_number(box, tag, corners) for tag in _CORNERS], is_difficult, place.field)


def _read_size(root: Element, place: _Place) -> tuple[int, int]:
    size = root.find("size")
    if size is None:
        return 0, 0
    return int(_number(size, "width", place, default=0)), int(_number(size, "height", place, default=0))


def _number(node: Element, tag: str, place: _Place, default: float | None = None) -> float:
    """The number in ``tag``; ``default`` if the tag is absent or empty."""
    text = _text(node, tag)
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not abs(value) <= MAX_COORDINATE:  # nor is nan
        found = f"is {shorten(text)}" if text else "is missing"
        raise place.error(f": <{tag}> {found}; it must be a number")
    return value


def _text(node: Element, tag: str) -> str:
    return (node.findtext(tag) or "").strip()
