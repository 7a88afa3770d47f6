import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ssd.data.build import unite_class_names
from ssd.data.catalog import make_dataset
from ssd.tools.data.content import Content, Record, collect_content
from ssd.tools.data.writers import FORMATS, write_dataset
from ssd.utils.errors import ConfigError, DatasetError, OutputError
from ssd.utils.image import write_image

OBJECTS = {
    "a.png": [([1.5, 2.25, 12.3, 13.7], 1), ([0, 0, 40, 30], 2), ([33.333332, 0.1, 39.999996, 7], 1)],
    "b.png": [],
    "c d.png": [([5, 6, 7, 8], 3)],
}
CLASSES = ("zebra", "ant", "it's a <b>, ok")
Entry = dict[str, Any]
WriteCoco = Callable[..., Entry]
SIDES = st.floats(0, 1, width=32)


def make_content(folder: Path, objects: dict[str, list], parts: dict[str, list[int]], classes=CLASSES) -> Content:
    """Images of 40 x 30 pixels with objects (box, label) by file name."""
    records = []
    for name, items in objects.items():
        write_image(np.full((30, 40, 3), 9 * len(name), np.uint8), folder / name)
        boxes = np.array([box for box, _ in items], np.float32).reshape(-1, 4)
        labels = np.array([label for _, label in items], np.int64)
        records.append(Record(name, folder / name, 40, 30, boxes, labels, np.zeros(len(items), bool)))
    return Content(classes, records, parts)


def one_image(folder: Path, boxes: np.ndarray) -> Content:
    return make_content(folder, {"a.png": [(box, 1) for box in boxes]}, {"all": [0]}, ("cat",))


def read(entries: dict[str, Entry]) -> Content:
    datasets = {part: make_dataset(part, {part: entry}, is_train=False) for part, entry in entries.items()}
    unite_class_names(list(datasets), list(datasets.values()))
    return collect_content(datasets)


def plain_content(content: Content) -> dict[str, dict[str, tuple]]:
    """Exact boxes and labels by part and stem of the image."""
    parts = {part: [content.records[row] for row in rows] for part, rows in content.parts.items()}
    return {
        part: {one.stem: (one.boxes.tolist(), one.labels.tolist()) for one in records}
        for part, records in parts.items()
    }


@pytest.mark.parametrize(("first", "second"), list(itertools.product(FORMATS, repeat=2)))
def test_each_pair_of_formats_keeps_every_box(first: str, second: str, tmp_path: Path) -> None:
    original = make_content(tmp_path, OBJECTS, {"train": [0, 1], "val": [2]})
    once = read(write_dataset(tmp_path / "first", original, first)[0])
    twice = read(write_dataset(tmp_path / "second", once, second, link=True)[0])
    back = read(write_dataset(tmp_path / "third", twice, first)[0])
    for content in (once, twice, back):
        assert content.class_names == CLASSES
        assert plain_content(content) == plain_content(original)
    for record in back.records:
        assert record.path.read_bytes() == (tmp_path / record.name).read_bytes()


@settings(max_examples=40, deadline=None)
@given(corners=st.lists(st.tuples(SIDES, SIDES), min_size=2, max_size=2), format_name=st.sampled_from(FORMATS))
def test_any_box_reads_back_the_same(corners: list[tuple[float, float]], format_name: str, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("any")
    low, high = np.sort(np.array(corners, np.float32), axis=0) * np.array([40, 30], np.float32)
    low[low < 1e-6] = 0  # VOC counts from 1, and float64 has no room for less beside it
    if (high - low).min() <= 1e-3:  # empty after rounding: left out when it is read
        return
    content = one_image(folder, np.concatenate([low, high])[None])
    entries = write_dataset(folder / "set", content, format_name)[0]
    np.testing.assert_array_equal(read(entries).records[0].boxes, content.records[0].boxes)


def test_numbers_are_short(tmp_path: Path) -> None:
    content = one_image(tmp_path, np.array([[0, 0.1, 33.333332, 12]], np.float32))
    for name in ("csv", "voc"):
        write_dataset(tmp_path / name, content, name)
    assert (tmp_path / "csv/all.csv").read_text().splitlines()[1] == "a.png,40,30,cat,0,0.1,33.333332,12"
    xml = "".join((tmp_path / "voc/Annotations/a.xml").read_text().split())
    assert "<ymin>1.1</ymin><xmax>34.333332</xmax><ymax>13</ymax>" in xml


def one_box(file: str, **category: Any) -> dict[str, Any]:
    """The content of a COCO file: a box in an image of 40 x 30 pixels."""
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0}
    image = {"id": 1, "file_name": file, "width": 40, "height": 30}
    return {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "cat", **category}]}


@pytest.fixture
def coco_entry(write_coco: Callable[..., tuple[Path, Path]]) -> WriteCoco:
    """Write the content of a COCO file, and return its entry for DATASETS.CUSTOM."""

    def write(content: dict[str, Any], **options: Any) -> Entry:
        folder, file = write_coco(content, **options)
        return {"FORMAT": "coco", "IMAGES": str(folder), "ANNOTATIONS": str(file)}

    return write


def test_losses_of_a_format_are_counted(tmp_path: Path) -> None:
    content = one_image(tmp_path, np.array([[1, 2, 3, 4], [5, 6, 7, 8.5]]))
    record = replace(content.records[0], is_difficult=np.array([True, False]), coco=({}, [{"iscrowd": 1}] * 2))
    content = replace(content, records=[record])
    notes = {name: "\n".join(write_dataset(tmp_path / name, content, name)[1]) for name in FORMATS}
    assert ["1 objects are marked difficult" in notes[name] for name in FORMATS] == [False, True, True, True]
    assert all("2 regions of crowds" in notes[name] for name in FORMATS)
    back = read({"all": {"FORMAT": "voc", "ROOT": str(tmp_path / "voc"), "SPLIT": "all"}})
    assert back.records[0].is_difficult.tolist() == [True, False]


def test_coco_keeps_all_fields_of_its_entries(coco_entry: WriteCoco, tmp_path: Path) -> None:
    crowd = {"id": 7, "image_id": 3, "category_id": 2, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 1,
             "segmentation": {"size": [30, 40], "counts": [0, 1200]}}  # fmt: skip
    outline = {"id": 8, "image_id": 3, "category_id": 2, "bbox": [1, 1, 4, 4], "area": 8, "iscrowd": 0,
               "segmentation": [[1, 1, 5, 1, 5, 5]], "note": "kept"}  # fmt: skip
    image = {"id": 3, "file_name": "a.png", "width": 40, "height": 30, "license": 4}
    categories = [{"id": 2, "name": "cat", "supercategory": "animal"}]
    content = {"images": [image], "annotations": [crowd, outline], "categories": categories}
    original = read({"all": coco_entry(content)})
    entries, notes = write_dataset(tmp_path / "new", original, "coco")
    assert (notes, json.loads(Path(entries["all"]["ANNOTATIONS"]).read_text())) == ([], content)
    notes = write_dataset(tmp_path / "csv", original, "csv")[1]
    assert [note[:10] for note in notes] == ["1 regions ", "1 outlines"]


def test_categories_in_another_order_get_new_ids(coco_entry: WriteCoco, tmp_path: Path) -> None:
    content = one_box("a.png", id=4)
    content["annotations"][0]["category_id"] = 4
    content["categories"].append({"id": 2, "name": "dog", "supercategory": "animal"})
    original = read({"all": {**coco_entry(content), "CLASSES": ["cat", "dog"]}})
    entries, _ = write_dataset(tmp_path / "new", original, "coco")
    found = json.loads(Path(entries["all"]["ANNOTATIONS"]).read_text())
    assert found["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert [annotation["category_id"] for annotation in found["annotations"]] == [1]


def test_a_folder_is_complete_or_absent(tmp_path: Path) -> None:
    content = one_image(tmp_path, np.array([[1, 2, 3, 4]], np.float32))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(OutputError, match="full"):
        write_dataset(tmp_path / "full", content, "voc")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["file"]
    (tmp_path / "empty").mkdir()
    write_dataset(tmp_path / "empty", content, "voc")
    assert {path.name for path in (tmp_path / "empty").iterdir()} == {"Annotations", "ImageSets", "JPEGImages"}
    (tmp_path / "a.png").unlink()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError):
        write_dataset(tmp_path / "new", content, "coco")
    assert sorted(tmp_path.iterdir()) == before


def test_yolo_cannot_have_stored_pixels_that_exif_turns(coco_entry: WriteCoco, tmp_path: Path) -> None:
    """COCO's boxes are of 40 x 30 stored pixels here; YOLO's readers would turn the image to 30 x 40."""
    exif = Image.Exif()
    exif[0x0112] = 6
    entry = coco_entry(one_box("a.jpg"))
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(Path(entry["IMAGES"]) / "a.jpg", exif=exif)
    original = read({"all": entry})
    with pytest.raises(DatasetError, match=r"a\.jpg: .*EXIF"):
        write_dataset(tmp_path / "new", original, "yolo")
    entries, _ = write_dataset(tmp_path / "new", original, "coco")
    assert plain_content(read(entries)) == plain_content(original)


def test_names_that_differ_by_their_folders_or_suffixes(tmp_path: Path) -> None:
    """A copy has one folder of images, and an annotation file a stem."""
    files = ["train/a.png", "valid/A.png", "valid/a.jpg", "valid/b.png", "valid/odd\nname.png"]
    (tmp_path / "set").mkdir()
    (tmp_path / "set/classes.txt").write_text("cat\n")
    for file in files:
        split, name = file.split("/")
        for folder in ("images", "labels"):
            (tmp_path / "set" / split / folder).mkdir(parents=True, exist_ok=True)
        write_image(np.full((30, 40, 3), len(name), np.uint8), tmp_path / "set" / split / "images" / name)
        (tmp_path / "set" / split / "labels" / name).with_suffix(".txt").write_text("0 0.5 0.5 0.5 0.5\n")
    entry = {"FORMAT": "yolo", "ROOT": str(tmp_path / "set")}
    entries, notes = write_dataset(tmp_path / "new", read({"all": entry}), "voc")
    names = sorted(path.name for path in (tmp_path / "new/JPEGImages").iterdir())
    assert names == ["a.png", "b.png", "images_A.png", "images_a_2.jpg", "odd_name.png"]
    assert sorted(path.stem for path in (tmp_path / "new/Annotations").iterdir()) == [name[:-4] for name in names]
    assert [note for note in notes if note.startswith("3 images are renamed")] == notes
    assert len(read(entries).records) == 5


@pytest.mark.parametrize("name", [" cat", "cat\n", "c\0t"])
def test_class_names_that_cannot_be_written(name: str, coco_entry: WriteCoco) -> None:
    with pytest.raises(DatasetError, match=re.escape(repr(name))):
        read({"all": coco_entry(one_box("a.png", name=name))})


def test_missing_images_and_formats_without_paths(coco_entry: WriteCoco) -> None:
    entry = coco_entry(one_box("a.png"))
    path = Path(entry["IMAGES"], "a.png")
    path.unlink()
    with pytest.raises(DatasetError, match=r"a\.png") as caught:
        read({"all": entry})
    assert caught.value.path == str(path)
    with pytest.raises(ConfigError, match="'all'"):
        collect_content({"all": SimpleNamespace(class_names=("__background__", "cat"))})


def test_parts_that_annotate_an_image_differently(coco_entry: WriteCoco) -> None:
    contents = {"one": one_box("a.png"), "two": one_box("a.png")}
    contents["two"]["annotations"][0]["bbox"] = [1, 2, 3, 5]
    entries = {part: coco_entry(content, name=part) for part, content in contents.items()}
    with pytest.raises(DatasetError, match=r"a\.png"):
        read(entries)
