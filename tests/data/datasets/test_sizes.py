"""Annotated sizes against those of the images, in every format: an image of 40 x 30 pixels with one box."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssd.data.datasets import ArrayDataset, COCODataset, CSVDataset, VOCDataset, YOLODataset
from ssd.data.datasets.policy import RAISE_ERRORS, SkipErrors
from ssd.data.samples import TrainingSamples
from ssd.tools.data.content import collect_content
from ssd.utils.errors import DatasetError
from tests.data.datasets.one_image import COLUMNS

FORMATS = ("voc", "coco", "csv")
# Orientation 6 as a big-endian LONG, which OpenCV takes for none.
TURNED = b"Exif\0\0MM" + struct.pack(">HIHHHII", 42, 8, 1, 0x0112, 4, 1, 6) + bytes(4)


def open_one(root, kind, size, box, policy=RAISE_ERRORS):
    """Write the annotation of a.jpg with a box in corner form, counted from 0, and read it."""
    (width, height), (x1, y1, x2, y2) = size, box
    if kind == "voc":
        corners = zip(("xmin", "ymin", "xmax", "ymax"), (x1 + 1, y1 + 1, x2 + 1, y2 + 1), strict=True)
        bndbox = "".join(f"<{tag}>{value}</{tag}>" for tag, value in corners)
        (root / "a.xml").write_text(
            f"<annotation><size><width>{width}</width><height>{height}</height></size><object><name>cat</name><bndbox>"
            f"{bndbox}</bndbox></object></annotation>"
        )
        return VOCDataset(root, None, images=".", annotations=".", policy=policy)
    if kind == "coco":
        image = {"id": 1, "file_name": "a.jpg", "width": width, "height": height}
        annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        content = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "cat"}]}
        (root / "a.json").write_text(json.dumps(content))
        return COCODataset(root, root / "a.json", policy=policy)
    if kind == "csv":
        (root / "a.csv").write_text(f"{COLUMNS}a.jpg,{width},{height},cat,{x1},{y1},{x2},{y2}\n")
        return CSVDataset(root / "a.csv", policy=policy)
    (root / "classes.txt").write_text("cat\n")
    numbers = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
    (root / "a.txt").write_text(f"0 {' '.join(map(str, numbers))}\n")
    return YOLODataset(root, policy=policy)


def write_image(root: Path, box: tuple[int, ...] = (0, 0, 0, 0), **options: bytes) -> None:
    """Write an image with a white box on black."""
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    Image.fromarray(pixels).save(root / "a.jpg", quality=100, **options)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_box_that_leaves_the_image_refutes_exchanged_sides(tmp_path: Path, kind: str) -> None:
    write_image(tmp_path)
    outside = (5, 32, 20, 38)
    with pytest.raises(DatasetError, match="size mismatch: 1"):
        open_one(tmp_path, kind, (30, 40), outside, SkipErrors())  # with which headers are read
    dataset = open_one(tmp_path, kind, (30, 40), outside)
    samples = TrainingSamples([dataset], (24, 32), seed=0)
    fact = r"a\.jpg: the image is 40 x 30 pixels but annotated as 30 x 40, and a box leaves"
    for read in (lambda: collect_content({"all": dataset}), lambda: dataset[0], lambda: samples[0, 0]):
        with pytest.raises(DatasetError, match=fact):
            read()
    with pytest.raises(DatasetError, match="40 x 30 pixels but annotated as 20 x 20"):
        open_one(tmp_path, kind, (20, 20), outside)


@pytest.mark.parametrize("kind", FORMATS)
def test_exchanged_sides_are_a_slip_where_the_box_fits(tmp_path: Path, kind: str) -> None:
    write_image(tmp_path, (5, 10, 20, 28))
    policy = SkipErrors()
    dataset = open_one(tmp_path, kind, (30, 40), (5, 10, 20, 28), policy)
    assert policy.count == 0
    assert dataset.get_img_info(0)["width"] == 30  # as annotated
    assert_box_is_white(dataset)


@pytest.mark.parametrize("kind", [*FORMATS, "yolo"])
def test_boxes_of_a_turned_image_lie_on_its_pixels(tmp_path: Path, kind: str) -> None:
    """The rows (10, 28) and columns (5, 20) as stored become columns 2 to 20 and rows 5 to 20 when turned."""
    write_image(tmp_path, (5, 10, 20, 28), exif=TURNED)
    assert_box_is_white(open_one(tmp_path, kind, (30, 40), (2, 5, 20, 20)))
    if kind != "yolo":
        assert_box_is_white(open_one(tmp_path, kind, (40, 30), (5, 10, 20, 28)))  # annotated as stored
        policy = SkipErrors()
        policy.note = policy.reject  # type: ignore[method-assign]  # counts slips too
        open_one(tmp_path, kind, (40, 30), (5, 10, 20, 28), policy)
        assert policy.count == 0


def assert_box_is_white(dataset: ArrayDataset) -> None:
    """The box has the white pixels, and no other has."""
    image, target, _ = dataset[0]
    (x1, y1, x2, y2) = target["boxes"][0].round().astype(int)
    assert image[y1:y2, x1:x2].mean() > 250
    assert image.sum() < 260 * 3 * (x2 - x1) * (y2 - y1)
