import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssd.data.catalog import make_dataset
from ssd.data.datasets.find import find_layout
from ssd.utils.errors import ConfigError, DatasetError

LayOut = Callable[[dict[str, str]], Path]
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
CSV = "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,40,30,cat,1,2,11,12\n"
OPEN_IMAGES = f"ImageID,LabelName,XMin,XMax,YMin,YMax\na,cat,{1 / 40},{11 / 40},{2 / 30},{12 / 30}\n"

# what lies in the folder, the format, its splits
LAYOUTS = {
    "voc": ({"Annotations/a.xml": XML, "JPEGImages/a.png": "", "ImageSets/Main/train.txt": "a\n"}, "VOC", ["train"]),
    "voc without lists": ({"annotations/a.xml": XML, "images/a.png": ""}, "VOC", []),
    "labelimg": ({"a.xml": XML, "a.png": ""}, "VOC", []),
    "roboflow voc": ({f"{part}/a.{kind}": text for part in ("train", "valid") for kind, text in
                      (("xml", XML), ("png", ""))}, "VOC", ["train", "valid"]),
    "coco": ({"annotations/instances_train2017.json": JSON, "train2017/a.png": ""}, "COCO", ["train2017"]),
    "roboflow coco": ({f"{part}/{name}": text for part in ("train", "test") for name, text in
                       (("_annotations.coco.json", JSON), ("a.png", ""))}, "COCO", ["test", "train"]),
    "cvat coco": ({"annotations/instances_default.json": JSON, "images/a.png": ""}, "COCO", []),
    "ultralytics": ({"data.yaml": "train: images/train\nval: images/val\nnames: [cat]\n",
                     **{f"images/{part}/a.png": "" for part in ("train", "val")},
                     **{f"labels/{part}/a.txt": YOLO_ROW for part in ("train", "val")}}, "YOLO", ["train", "val"]),
    "labelimg yolo": ({"classes.txt": "cat\n", "a.png": "", "a.txt": YOLO_ROW}, "YOLO", []),
    "cvat yolo": ({"obj.data": "classes = 1\ntrain = data/train.txt\nnames = data/obj.names\n", "obj.names": "cat\n",
                   "train.txt": "data/obj_train_data/a.png\n", "obj_train_data/a.png": "",
                   "obj_train_data/a.txt": YOLO_ROW}, "YOLO", ["train"]),
    "csv": ({"boxes.csv": CSV, "images/a.png": ""}, "CSV", []),
    "csv by split": ({"train.csv": CSV, "val.csv": CSV, "images/a.png": ""}, "CSV", ["train", "val"]),
    "open images": ({"train-annotations-bbox.csv": OPEN_IMAGES, "train/a.png": ""}, "CSV", ["train"]),
}  # fmt: skip


@pytest.fixture
def lay_out(tmp_path: Path) -> LayOut:
    """Write files by their names; images have 40 x 30 pixels."""
    (_, encoded) = cv2.imencode(".png", np.full((30, 40, 3), 90, np.uint8))

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded.tobytes() if path.suffix == ".png" else text.encode())
        return tmp_path / "set"

    return write


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_is_found_and_read(name: str, lay_out: LayOut) -> None:
    files, title, splits = LAYOUTS[name]
    root = lay_out(files)
    layout = find_layout(root)
    assert (layout.title, layout.splits) == (title, splits)
    for split in splits or [None]:
        entry = {"ROOT": str(root)} if split is None else {"ROOT": str(root), "SPLIT": split}
        dataset = make_dataset("own", {"own": entry}, is_train=True)
        assert dataset.class_names == ("__background__", "cat")
        assert len(dataset) == 1
        np.testing.assert_allclose(dataset.get_annotation(0)[1][0], [[1, 2, 11, 12]], atol=1e-4)
        assert dataset[0][0].shape == (30, 40, 3)


def test_what_is_found_is_logged_in_a_line(lay_out: LayOut, caplog: pytest.LogCaptureFixture) -> None:
    root = lay_out(LAYOUTS["voc"][0])
    with caplog.at_level("INFO"):
        make_dataset("own", {"own": {"ROOT": str(root), "SPLIT": "train"}}, is_train=True)
    (line,) = [record.getMessage() for record in caplog.records if "found" in record.getMessage()]
    assert all(word in line for word in ("1 image", "VOC", "train"))


@pytest.mark.parametrize(
    ("name", "spellings"),
    [("roboflow voc", {"train": "train", "val": "valid", "valid": "valid"}), ("coco", {"train": "train2017"})],
)
def test_spellings_of_a_split(lay_out: LayOut, name: str, spellings: dict[str, str]) -> None:
    layout = find_layout(lay_out(LAYOUTS[name][0]))
    assert {asked: layout.choose_split(asked) for asked in spellings} == spellings


@pytest.mark.parametrize(
    ("name", "asked", "fact"),
    [("coco", "test", "'test'.*train2017"), ("roboflow voc", None, "SPLIT .*train, valid"), ("csv", "a", "data split")],
)
def test_missing_splits(lay_out: LayOut, name: str, asked: str | None, fact: str) -> None:
    with pytest.raises(ConfigError, match=fact):
        find_layout(lay_out(LAYOUTS[name][0])).choose_split(asked)


def test_two_formats_are_not_guessed_between(lay_out: LayOut) -> None:
    root = lay_out({**LAYOUTS["voc"][0], **LAYOUTS["csv"][0]})
    with pytest.raises(ConfigError, match=r"2 formats: VOC .*CSV .*Name the FORMAT"):
        find_layout(root)


def test_nothing_found_says_what_was_looked_for_and_what_is_there(lay_out: LayOut) -> None:
    with pytest.raises(ConfigError) as caught:
        find_layout(lay_out({"readme.md": "hello", "images/a.png": ""}))
    for text in ("images/, readme.md", "VOC:", "COCO:", "YOLO:", "CSV:"):
        assert text in str(caught.value)


def test_folder_that_is_missing_or_a_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="dataset folder"):
        find_layout(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is a file"):
        find_layout(tmp_path / "file")


def test_broken_files_are_no_format(lay_out: LayOut) -> None:
    broken = {"a.json": '{"images": [', "data.yaml": "names: [", "b.csv": '"', "c.csv": "\0", "empty.json": ""}
    broken |= {"escape.json": JSON.replace("a.png", r"\x.png"), "endless.csv": CSV + '"' + "x" * 200_000, "a.png": ""}
    root = lay_out(broken)
    (root / "latin.csv").write_bytes(CSV.replace("cat", "Bär").encode("latin-1"))
    with pytest.raises(ConfigError, match="no dataset found"):
        find_layout(root)


def test_a_split_that_is_a_link_to_nowhere_is_none(lay_out: LayOut) -> None:
    root = lay_out(LAYOUTS["voc"][0])
    (root / "ImageSets/Main/val.txt").symlink_to(root / "nowhere.txt")
    (root / "ImageSets/Main/cat_train.txt").write_text("a 1\n")
    assert find_layout(root).splits == ["train"]
