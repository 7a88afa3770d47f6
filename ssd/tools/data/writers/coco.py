"""Images and one JSON file a part in COCO's format, see ``COCODataset``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssd.tools.data.writers.content import Content, Record, describe_losses
from ssd.tools.data.writers.numbers import start_and_extent

IMAGE_FOLDER = "images"


def write_coco(folder: Path, content: Content) -> list[str]:
    """Write the annotations of a dataset; see ``write_dataset``.

    What comes from COCO keeps its ids, licences, outlines and all else that its entries hold.
    """
    categories = content.categories
    if categories is None:
        categories = [{"id": number, "name": name} for number, name in enumerate(content.class_names, start=1)]
    category_ids = sorted(category["id"] for category in categories)
    (folder / "annotations").mkdir()
    for part, rows in content.parts.items():
        images, annotations = [], []
        for row in rows:
            image, found = _entries(content.records[row], row + 1, category_ids)
            images.append(image)
            annotations += found
        if content.categories is None:
            annotations = [{"id": number, **item} for number, item in enumerate(annotations, start=1)]
        result = {"images": images, "annotations": annotations, "categories": categories}
        (folder / _annotation_file(part)).write_text(json.dumps(result), encoding="ascii")
    is_coco = content.categories is not None
    return describe_losses(content, difficult=False, crowds=is_coco, outlines=is_coco)


def coco_entry(folder: Path, part: str) -> dict[str, Any]:
    """Return the entry of a part for DATASETS.CUSTOM."""
    return {"FORMAT": "coco", "IMAGES": str(folder / IMAGE_FOLDER), "ANNOTATIONS": str(folder / _annotation_file(part))}


def _annotation_file(part: str) -> str:
    return f"annotations/instances_{part}.json"


def _entries(record: Record, image_id: int, category_ids: Sequence[int]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The image's entry, and those of its objects."""
    size = {"width": int(record.width), "height": int(record.height)}
    if record.coco is not None:
        image, annotations = record.coco
        known = [annotation for annotation in annotations if annotation["category_id"] in category_ids]
        return {**image, **size, "file_name": record.name}, known
    objects = []
    for box, label in zip(record.boxes, record.labels.tolist(), strict=True):
        (x, width), (y, height) = (start_and_extent(box[axis], box[axis + 2]) for axis in (0, 1))
        entry = {"image_id": image_id, "category_id": category_ids[label - 1], "bbox": [x, y, width, height]}
        objects.append({**entry, "area": width * height, "iscrowd": 0})
    return {"id": image_id, "file_name": record.name, **size}, objects
