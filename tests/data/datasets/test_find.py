from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ssd.data.catalog import make_dataset
from ssd.data.datasets.find import find_layout
from ssd.utils.errors import ConfigError, DatasetError
from tests.data.datasets.one_image import COLUMNS, CSV, JSON, XML, YOLO_ROW, write_files

LayOut = Callable[[dict[str, str]], Path]
OPEN_IMAGES = f"ImageID,LabelName,XMin,XMax,YMin,YMax\na,cat,{1 / 40},{11 / 40},{2 / 30},{12 / 30}\n"

# what lies in the folder, the format, its splits
LAYOUTS = {
    "voc": ({"Annotations/a.xml": XML, "JPEGImages/a.png": "", "ImageSets/Main/train.txt": "a\n"}, "VOC", ["train"]),
    "voc without lists": ({"annotations/a.xml": XML, "images/a.png": ""}, "VOC", []),
    "labelimg": ({"a.xml": XML, "a.png": ""}, "VOC", []),
    "roboflow voc": ({f"{part}/a.{kind}": text for part in ("train", "valid") for kind, text in
                      (("xml", XML), ("png", ""))}, "VOC", ["train", "valid"]),
    "tensorflow's tutorial": ({f"images/{part}/a.{kind}": text for part in ("test", "train") for kind, text in
                               (("xml", XML), ("png", ""))}, "VOC", ["test", "train"]),
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
    "part of open images": ({"sub-train-annotations-bbox.csv": OPEN_IMAGES, "train/a.png": "", "test/a.png": ""},
                            "CSV", ["sub_train"]),
}  # fmt: skip


@pytest.fixture
def lay_out(tmp_path: Path) -> LayOut:
    """Write files by their names; images have 40 x 30 pixels."""
    return partial(write_files, tmp_path / "set")


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
    [
        ("roboflow voc", {"train": "train", "val": "valid", "valid": "valid"}),
        ("coco", {"train": "train2017"}),
        ("part of open images", {"train": "sub_train", "training": "sub_train"}),
    ],
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


def test_the_folder_of_a_split_has_its_images(lay_out: LayOut) -> None:
    """The folder test, which is listed before train, has an image of the same name."""
    layout = find_layout(lay_out(LAYOUTS["part of open images"][0]))
    assert Path(layout.entries["sub_train"]["IMAGES"]).name == "train"


ROW = "a.png,40,30,cat,2,3,12,13\n"  # of XML, as xml_to_csv.py of the tutorials writes it
TWO_FORMATS = {
    "tutorial": {"a.xml": XML, "a.png": "", "b.xml": "<annotation/>", "b.png": "", "train_labels.csv": COLUMNS + ROW},
    "tutorial, parts": {**{f"images/{name}": text for name, text in (("a.xml", XML), ("a.png", ""), ("b.png", ""))},
                        "images/b.xml": XML, "data/train_labels.csv": COLUMNS + ROW,
                        "data/test_labels.csv": COLUMNS + ROW.replace("a.png", "b.png")},
    "yolo": {"Annotations/a.xml": XML, "images/a.png": "", "labels/a.txt": YOLO_ROW, "classes.txt": "cat\n"},
    "classes only": {"a.xml": XML, "a.png": "", "classes.txt": "cat\n"},
}  # fmt: skip


@pytest.mark.parametrize("name", TWO_FORMATS)
def test_of_two_formats_the_original_is_read(lay_out: LayOut, caplog: pytest.LogCaptureFixture, name: str) -> None:
    root = lay_out(TWO_FORMATS[name])
    with caplog.at_level("INFO"):
        layout = find_layout(root)
    assert layout.title == "VOC"
    (line,) = [record.getMessage() for record in caplog.records]
    assert "VOC in" in line
    assert "--format" in line
    if name == "tutorial, parts":
        assert "splits test, train" in line
        assert find_layout(root, "csv").splits == ["test", "train"]
        entry = {"ROOT": str(root), "SPLIT": "test", "FORMAT": "csv"}
        assert make_dataset("own", {"own": entry}, is_train=True).ids == ["b.png"]


@pytest.mark.parametrize(
    ("extra", "rows", "fact"),
    [
        ({"b.png": ""}, ROW + ROW.replace("a.png", "b.png"), "b.png has objects in CSV only"),
        ({}, ROW + ROW.replace("2,3", "9,9"), "a.png has 2 cat in CSV and 1 cat in VOC"),
        ({}, ROW.replace("cat", "dog"), "a.png has 1 dog in CSV and 1 cat in VOC"),
        ({}, "a.png,40,30,,2,3,12,13\n", "row 2: the class is empty"),
    ],
)
def test_formats_that_differ_are_not_guessed_between(lay_out, extra, rows, fact) -> None:
    root = lay_out({"a.xml": XML, "a.png": "", "labels.csv": COLUMNS + rows, **extra})
    with pytest.raises(ConfigError, match=rf"(?s)2 formats: VOC .*CSV .*{fact}.*FORMAT .*voc, csv"):
        find_layout(root)
    assert [find_layout(root, name).title for name in ("voc", "csv")] == ["VOC", "CSV"]
    assert len(make_dataset("own", {"own": {"ROOT": str(root), "FORMAT": "voc"}}, is_train=True)) == 1
    with pytest.raises(ConfigError, match="FORMAT coco"):
        make_dataset("own", {"own": {"ROOT": str(root), "FORMAT": "coco"}}, is_train=True)


IMAGE = {"images/a.png": "", "labels/a.txt": YOLO_ROW}
REASONS = {
    "no": ({"data.yaml": "nc: 2\nnames: [no, yes]\ntrain: images\n", **IMAGE}, r"data\.yaml: names: .*False"),
    "nc": ({"data.yaml": "nc: 3\nnames: [cat, dog]\ntrain: images\n", **IMAGE}, r"data\.yaml: nc: is 3"),
    "tab": ({"data.yaml": "names:\n\t0: cat\ntrain: images\n", **IMAGE}, r"data\.yaml: .*line 2"),
    "two": ({"a.yaml": "names: [a]\nnc: 1\n", "b.yaml": "names: [b]\nnc: 1\n", **IMAGE}, r"a\.yaml, b\.yaml"),
    "no names": (IMAGE, r"labels/ .*classes\.txt"),
    "cut json": ({"train/_annotations.coco.json": JSON[:-90], "train/a.png": ""}, r"coco\.json: .*broken JSON.*line 1"),
    "no categories": ({"a.json": JSON.replace("categories", "classes"), "a.png": ""}, r"a\.json: categories: "),
    "coco without images": ({"annotations/a.json": JSON, "b.png": ""}, r"a\.json: its images, such as 'a\.png'"),
    "cvat xml": ({"a.xml": "<annotations><image/></annotations>", "images/a.png": ""}, r"a\.xml .*CVAT.*COCO"),
    "label studio": ({"a.json": '[{"value": {"rectanglelabels": ["cat"]}}]', "a.png": ""}, r"a\.json .*Label Studio"),
    "other xml": ({"a.xml": "<notes/>", "images/a.png": ""}, r"a\.xml: .*<notes>"),
    "broken xml": ({"labels/a.xml": "<annotation>", "a.png": ""}, r"a\.xml: broken XML.*line 1"),
    "voc without images": ({"xml/a.xml": XML}, r"xml/a\.xml"),
    "csv columns": ({"a.csv": CSV.replace("xmax", "w"), "images/a.png": ""}, r"a\.csv: row 1: .*filename"),
    "csv without images": ({"a.csv": CSV, "b.png": ""}, r"a\.csv: its images, such as 'a\.png'"),
    "csv of latin-1": ({"a.csv": CSV.replace("cat", "Bär"), "a.png": ""}, r"a\.csv: not UTF-8"),
}


@pytest.mark.parametrize("name", REASONS)
def test_the_reason_is_said_where_nothing_is_found(lay_out: LayOut, name: str) -> None:
    files, fact = REASONS[name]
    root = lay_out(files)
    for path in root.glob("*.csv"):
        path.write_bytes(files[path.name].encode("latin-1"))
    with pytest.raises(ConfigError, match=rf"no dataset found\n.*{fact}"):
        find_layout(root)


def test_a_split_that_is_passed_over_is_in_the_log(lay_out: LayOut, caplog: pytest.LogCaptureFixture) -> None:
    files = {"valid/_annotations.coco.json": JSON[:-90], "valid/b.png": "", "results.json": "[]"}
    files["data.yaml"] = "names: [\n"
    layout = find_layout(lay_out({**LAYOUTS["roboflow coco"][0], **files}))
    assert layout.splits == ["test", "train"]
    lines = [record.getMessage() for record in caplog.records]
    assert [name in line for name, line in zip(("valid", "data.yaml"), lines, strict=True)] == [True, True]
    assert "broken JSON" in lines[0]


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
