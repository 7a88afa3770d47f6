"""Sets in YOLO's layout: of Ultralytics and Roboflow with data.yaml, of Darknet and CVAT, of LabelImg."""

from pathlib import Path
from typing import Any

from ssd.data.datasets.yolo_files import read_yolo_layout
from ssd.data.sniffing.layout import Layout
from ssd.utils.errors import DatasetError


def find_yolo(root: Path) -> Layout | None:
    """See ``find_layout``."""
    try:
        layout = read_yolo_layout(root)
    except DatasetError:
        return None
    entry = {"FORMAT": "yolo", "ROOT": str(root)}
    entries: dict[str | None, Any] = {split: {**entry, "SPLIT": split} for split in layout.splits}
    return Layout("YOLO", str(layout.source), entries or {None: entry})
