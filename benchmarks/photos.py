"""Photograph-like JPEGs of VOC's size with boxes, rendered from fixed seeds and written in VOC layout."""

from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

WIDTH, HEIGHT = 500, 375
NUM_BOXES = 8
CLASS_NAMES = ("cat", "dog", "person")
_QUALITY = 95
_GRAIN = 4.0  # standard deviation in grey levels; a file then has about the size of one of VOC's
# Octaves of noise: the side of its cells in pixels, and its standard deviation in grey levels.
_OCTAVES = ((64, 40.0), (16, 18.0), (5, 7.0))


def write_photos(root: Path, count: int) -> None:
    """Write photographs 0 to ``count`` - 1 as a dataset in PASCAL VOC layout with the split "trainval"."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    names = [f"{number:06d}" for number in range(count)]
    for number, name in enumerate(names):
        done, encoded = cv2.imencode(".jpg", render_photo(number), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        assert done
        (root / "JPEGImages" / f"{name}.jpg").write_bytes(encoded.tobytes())
        (root / "Annotations" / f"{name}.xml").write_bytes(_annotation(name, draw_boxes(number)))
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("\n".join(names) + "\n")


def photo_paths(root: Path) -> list[Path]:
    """Return the files of the photographs in order."""
    return sorted((root / "JPEGImages").iterdir())


def render_photo(number: int) -> np.ndarray:
    """Render a gradient under noise of several sizes and fine grain, uint8 (HEIGHT, WIDTH, 3)."""
    rng = np.random.default_rng((number, 0))
    corners = rng.uniform(40, 215, (2, 2, 3)).astype(np.float32)
    image: np.ndarray = cv2.resize(corners, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    for cell, deviation in _OCTAVES:
        cells = rng.normal(0, deviation, (HEIGHT // cell + 2, WIDTH // cell + 2, 3)).astype(np.float32)
        image = image + cv2.resize(cells, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    image = image + rng.normal(0, _GRAIN, (HEIGHT, WIDTH, 1))
    return np.clip(image, 0, 255).astype(np.uint8)


def draw_boxes(number: int, count: int = NUM_BOXES) -> np.ndarray:
    """Draw boxes of an image, int64 (count, 4) corner form in pixels; sides are a tenth to a half of the image's."""
    rng = np.random.default_rng((number, 1))
    limits = np.array([WIDTH, HEIGHT])
    sides = (rng.uniform(0.1, 0.5, (count, 2)) * limits).astype(np.int64)
    corners = (rng.uniform(0, 1, (count, 2)) * (limits - sides)).astype(np.int64)
    return np.concatenate([corners, corners + sides], axis=1)


def _annotation(name: str, boxes: np.ndarray) -> bytes:
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = f"{name}.jpg"
    size = ElementTree.SubElement(root, "size")
    for field, value in (("width", WIDTH), ("height", HEIGHT), ("depth", 3)):
        ElementTree.SubElement(size, field).text = str(value)
    for row, box in enumerate(boxes.tolist()):
        element = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(element, "name").text = CLASS_NAMES[row % len(CLASS_NAMES)]
        ElementTree.SubElement(element, "difficult").text = "0"
        bounds = ElementTree.SubElement(element, "bndbox")
        for field, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            ElementTree.SubElement(bounds, field).text = str(value + 1)  # VOC counts from 1
    return ElementTree.tostring(root)
