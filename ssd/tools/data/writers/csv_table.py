"""Images and one table a part, with the columns of TensorFlow's object detection, see ``CSVDataset``."""

import csv
from pathlib import Path
from typing import Any

from ssd.tools.data.writers.content import Content, describe_losses
from ssd.tools.data.writers.numbers import plain, shortest

IMAGE_FOLDER = "images"
_HEADER = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")


def write_csv(folder: Path, content: Content) -> list[str]:
    """Write the tables of a dataset; see ``write_dataset``."""
    for part, rows in content.parts.items():
        with open(folder / f"{part}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_HEADER)
            for record in (content.records[row] for row in rows):
                start = (record.name, record.width, record.height)
                for box, label in zip(record.boxes, record.labels.tolist(), strict=True):
                    writer.writerow(
                        (*start, content.class_names[label - 1], *(plain(shortest(value)) for value in box))
                    )
                if not len(record.labels):
                    writer.writerow((*start, "", "", "", "", ""))
    return describe_losses(content, difficult=False, crowds=False, outlines=False)


def csv_entry(folder: Path, part: str) -> dict[str, Any]:
    """Return the entry of a part for DATASETS.CUSTOM."""
    return {"FORMAT": "csv", "IMAGES": str(folder / IMAGE_FOLDER), "ANNOTATIONS": str(folder / f"{part}.csv")}
