import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssd.data.catalog import make_dataset
from ssd.data.datasets import COCODataset, VOCDataset
from ssd.data.datasets.policy import CLIPPED, SkipErrors, check_boxes
from ssd.data.datasets.sizes import read_annotated_image
from ssd.utils.errors import ConfigError, DatasetError

SOUND = [("cat", (1, 1, 9, 9))]
BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
NAMES = ("__background__", "cat", "dog")


def test_the_warning_counts_all_and_names_the_first(caplog: pytest.LogCaptureFixture) -> None:
    policy = SkipErrors()
    policy.warn("cells")
    assert not caplog.records
    for number in range(7):
        policy.reject(DatasetError(f"{number}.xml: broken"))
    for number in (7, 8):
        policy.reject(DatasetError(f"{number}.xml: no image", kind="missing image"))
    policy.warn("cells")
    (record,) = caplog.records
    message = record.getMessage()
    for fact in ("cells: 9 mistakes", "malformed annotation: 7", "missing image: 2"):
        assert fact in message
    assert [number for number in range(9) if f"{number}.xml" in message] == [0, 1, 2, 3, 4, 7]


@pytest.fixture
def damaged_voc(write_voc) -> Path:
    """Two sound images among six."""
    parts = (f"cat</name>{BOX}", f"cow</name>{BOX}", "dog</name>", f"dog</name>{BOX}")
    objects = "".join(f"<object><name>{part}</object>" for part in parts)
    other_size = "<annotation><size><width>400</width><height>30</height></size></annotation>"
    damaged = {"broken_xml": "<annotation>", "objects": f"<annotation>{objects}</annotation>"}
    root = write_voc({"sound": SOUND, **damaged, "no_image": SOUND, "corrupt": SOUND, "other_size": other_size})
    (root / "JPEGImages/no_image.png").unlink()
    (root / "JPEGImages/corrupt.png").write_bytes(b"\x89PNG")
    return root


def test_voc_mistakes_are_skipped_one_by_one(damaged_voc: Path) -> None:
    policy = SkipErrors()
    dataset = VOCDataset(damaged_voc, "train", class_names=NAMES, policy=policy)
    assert dataset.ids == ["sound", "objects"]
    assert dataset.num_listed == 6
    assert dataset.get_annotation(1)[1][1].tolist() == [1, 2]  # the cat and the dog that has a box
    assert dataset[1][0].shape == (30, 40, 3)
    assert policy.count == 6
    others = ["missing image", "corrupt image", "size mismatch", "unknown class"]
    assert [error.kind for error in policy.first] == [*["malformed annotation"] * 2, *others]
    assert [error.field for error in policy.first[:2]] == ["", "object 3 of 4"]
    assert [Path(error.path or "").name for error in policy.first[:2]] == ["broken_xml.xml", "objects.xml"]


def test_skipping_changes_nothing_of_sound_data(write_voc) -> None:
    root = write_voc({"a": SOUND, "b": [], "c": [("dog", (2, 3, 30, 20), 1)]})
    strict, lenient = VOCDataset(root, "train"), VOCDataset(root, "train", policy=SkipErrors())
    one, two = ({key: str(value) for key, value in vars(dataset).items()} for dataset in (strict, lenient))
    assert one == two


def test_the_last_error_has_the_reasons(write_voc, write_coco, tmp_path: Path) -> None:
    ids = content()
    for image in ids["images"]:
        image["id"] = f"00{image['id']}"
    names = content()
    names["categories"] = [{"id": 2, "name": 7}, {"id": 3}]
    folder, _ = write_coco(ids, name="ids")
    write_coco(names, name="names")
    entries = {kind: {"FORMAT": "coco", "IMAGES": folder, "ANNOTATIONS": tmp_path / f"{kind}.json"} for kind in
               ("ids", "names")}  # fmt: skip
    entries["voc"] = {"FORMAT": "voc", "ROOT": write_voc({"a": "<annotation>", "b": ""}), "SPLIT": "train"}
    entries["csv"] = {"FORMAT": "csv", "ANNOTATIONS": tmp_path / "a.csv"}
    (tmp_path / "a.csv").write_text("filename,class,xmin,ymin,xmax,ymax\na.png,cat,1,2,3,x\n")
    facts = {
        "ids": ("ids.json: none of 3 images", "malformed annotation: 3", "has id '001'"),
        "names": ("malformed annotation: 2", "categories[0]: has name 7", "categories[1]: lacks name"),
        "voc": ("split train: none of 2 images", "malformed annotation: 2", "a.xml: broken XML", "b.xml"),
        "csv": ("malformed annotation: 1", "row 2", "y2 is 'x'"),
    }
    for kind, expected in facts.items():
        entry = {key: str(value) for key, value in entries[kind].items()}
        with pytest.raises(DatasetError) as caught:
            make_dataset("own", {"own": entry}, is_train=True, on_error="skip")
        for fact in expected:
            assert fact in str(caught.value)
        assert str(caught.value).count("malformed annotation") == 1


def content() -> dict[str, Any]:
    labels = {1: 2, 2: 3, 3: 3}
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in labels],
        "categories": [{"id": 2, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [{"id": i, "image_id": i, "category_id": labels[i], "bbox": [1, 2, 3, 4]} for i in labels],
    }


def test_coco_mistakes_are_skipped_one_by_one(write_coco) -> None:
    folder, path = write_coco(content())
    damaged = content()
    damaged["images"] += [{"file_name": "4.png"}, {"id": 5, "file_name": "../5.png"}]
    damaged["annotations"][0]["bbox"] = [1, 2, 3]
    damaged["annotations"] += [{"id": 4, "image_id": 1, "category_id": 9, "bbox": [1, 2, 3, 4]}, 7]
    path.write_text(json.dumps(damaged))
    (folder / "2.png").write_bytes(b"")
    policy = SkipErrors()
    dataset = COCODataset(folder, path, policy=policy)
    assert [dataset.get_annotation(row)[0] for row in range(len(dataset))] == [1, 3]
    assert dataset.num_listed == 5
    assert [dataset.get_annotation(row)[1][1].tolist() for row in (0, 1)] == [[], [2]]
    assert policy.count == 6
    fields = ["images[3]", "annotations[0]", "annotations[4]", "annotation 4 of image 1", ""]
    assert [error.field for error in policy.first] == fields
    assert policy.first[-1].kind == "empty image"
    assert sorted(dataset.coco.anns) == [2, 3, 4]  # what evaluation reads bears the rest


def test_the_policy_of_a_config_reaches_the_formats(damaged_voc: Path, caplog: pytest.LogCaptureFixture) -> None:
    custom = {"cells": {"FORMAT": "voc", "ROOT": str(damaged_voc), "SPLIT": "train", "CLASSES": ["cat", "dog"]}}
    with pytest.raises(DatasetError, match=r"broken_xml\.xml"):
        make_dataset("cells", custom, is_train=True)
    with caplog.at_level(logging.WARNING):
        dataset = make_dataset("cells", custom, is_train=True, on_error="skip")
    assert len(dataset) == 2
    (record,) = caplog.records
    assert "dataset 'cells': 6 mistakes" in record.getMessage()
    with pytest.raises(ConfigError, match="POLICY"):
        make_dataset("cells", {"cells": {**custom["cells"], "POLICY": "skip"}}, is_train=True)


def test_boxes_are_clipped_or_dropped() -> None:
    boxes = np.array([[-2, 1, 5, 30], [5, 1, 4, 3], [5, 1, 5, 3], [10, 1, 12, 3], [1, np.nan, 3, 4], [0, 0, 10.5, 3]])
    clipped, keep, problems = check_boxes(boxes, np.tile([10, 20], (6, 1)))
    assert clipped[0].tolist() == [0, 1, 5, 20]
    assert keep.tolist() == [True, False, False, False, False, True]
    outside = "outside the image"
    assert problems == {0: CLIPPED, 1: "inverted", 2: "of zero area", 3: outside, 4: outside}
    clipped, keep, problems = check_boxes(np.zeros((0, 4)), np.zeros((0, 2)))
    assert (clipped.shape, keep.shape, problems) == ((0, 4), (0,), {})


def test_a_reduced_image_is_held_against_its_annotation(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.full((61, 99, 3), 90, np.uint8))
    boxes = np.array([[1, 2, 60, 61]])
    for size, reduction in (((99, 61), 2), ((61, 99), 4)):  # exchanged sides are a slip
        image, applied = read_annotated_image(path, size, boxes, reduction)
        assert (image.shape, applied) == ((-(-61 // reduction), -(-99 // reduction), 3), reduction)
    with pytest.raises(DatasetError, match="99 x 61 pixels but annotated as 120 x 61"):
        read_annotated_image(path, (120, 61), boxes, 2)
    with pytest.raises(DatasetError, match="99 x 61 pixels but annotated as 61 x 99, and a box leaves"):
        read_annotated_image(path, (61, 99), boxes + 1, 4)
