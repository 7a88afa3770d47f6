"""YOLO's layout with a list of images a part, see ``YOLODataset``; Ultralytics trains on its data.yaml.

Legend: G objects of an image.
"""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ssd.data.datasets.sizes import image_size_of, read_annotated_image
from ssd.tools.data.writers.content import Content, Record, describe_losses
from ssd.utils.image import write_image

IMAGE_FOLDER = "images"
_DIGITS = (6, 9, 12)  # behind the point, as few as will do; else all that float64 has


def write_yolo(folder: Path, content: Content) -> list[str]:
    """Write the rows, lists and data.yaml of a dataset; see ``write_dataset``."""
    (folder / "labels").mkdir()
    names, num_rewritten = [], 0
    for record in content.records:
        size, is_stored = _upright_size(record)
        names.append(record.name)
        if is_stored:
            pixels = read_annotated_image(record.path, record.width, record.height)[0]
            (folder / IMAGE_FOLDER / record.name).unlink()
            names[-1] = f"{record.stem}.png"
            write_image(pixels, folder / IMAGE_FOLDER / names[-1])
            num_rewritten += 1
        labels = record.labels - 1
        rows = "".join(f"{label} {row}\n" for label, row in zip(labels, _rows(record.boxes, size), strict=True))
        (folder / "labels" / f"{record.stem}.txt").write_text(rows, encoding="ascii")
    for part, indices in content.parts.items():
        lines = "".join(f"./{IMAGE_FOLDER}/{names[row]}\n" for row in indices)
        (folder / f"{part}.txt").write_text(lines, encoding="utf-8")
    lists = {part: f"{part}.txt" for part in content.parts}
    names_by_number = dict(enumerate(content.class_names))
    description = {**lists, "nc": len(names_by_number), "names": names_by_number}
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")
    notes = describe_losses(content, difficult=False, crowds=False, outlines=False)
    if num_rewritten:
        notes.append(
            f"{num_rewritten} images are annotated as they are stored and turned by EXIF; here they are PNG without."
        )
    return notes


def yolo_entry(folder: Path, part: str) -> dict[str, Any]:
    """Return the entry of a part for DATASETS.CUSTOM."""
    return {"FORMAT": "yolo", "ROOT": str(folder), "SPLIT": part}


def _upright_size(record: Record) -> tuple[tuple[int, int], bool]:
    """Width and height of the pixels that the boxes are drawn on, and whether these are the stored ones that EXIF would
    turn, which YOLO's readers do."""
    own, annotated = image_size_of(record.path), (record.width, record.height)
    if own == annotated:
        return own, False
    height, width = read_annotated_image(record.path, *annotated)[0].shape[:2]
    return (width, height), (width, height) != own


def _rows(boxes: np.ndarray, size: tuple[int, int]) -> list[str]:
    """Boxes (G, 4) in pixels as text: centre and extent, relative to ``size``."""
    limit = np.tile(size, 2)
    corners = boxes.astype(np.float64)
    centers, extents = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    relative = np.concatenate([centers, extents], axis=1) / limit
    rows = [[repr(value) for value in row] for row in relative.tolist()]
    for digits in reversed(_DIGITS):
        texts = [[f"{value:.{digits}f}" for value in row] for row in relative.tolist()]
        again = np.array(texts, dtype=np.float64).reshape(-1, 4)
        again = np.concatenate([again[:, :2] - again[:, 2:] / 2, again[:, :2] + again[:, 2:] / 2], axis=1) * limit
        is_same = (np.clip(again, 0, limit).astype(np.float32) == boxes).all(axis=1)
        rows = [text if same else row for row, text, same in zip(rows, texts, is_same, strict=True)]
    return [" ".join(row) for row in rows]
