"""An image of 40 x 30 pixels with a cat in columns 1 to 11 and rows 2 to 12, as each format describes it."""

import json
from pathlib import Path

import cv2
import numpy as np

PNG = cv2.imencode(".png", np.full((30, 40, 3), 90, np.uint8))[1].tobytes()
XML = (
    "<annotation><size><width>40</width><height>30</height></size><object><name>cat</name><bndbox><xmin>2</xmin>"
    "<ymin>3</ymin><xmax>12</xmax><ymax>13</ymax></bndbox></object></annotation>"
)
JSON = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 10], "area": 100, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat"}],
    }
)
YOLO_ROW = f"0 {6 / 40} {7 / 30} {10 / 40} {10 / 30}\n"
COLUMNS = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
CSV = f"{COLUMNS}a.png,40,30,cat,1,2,11,12\n"


def write_files(root: Path, files: dict[str, str]) -> Path:
    """Write files by their names and return the folder; whatever is called .png is the image."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG if path.suffix == ".png" else text.encode())
    return root
