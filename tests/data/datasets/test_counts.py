"""What is not read is counted, with the same numbers by a training and by check-data."""

import csv
import json
import logging
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd.data.catalog import make_dataset
from ssd.data.datasets import ArrayDataset
from ssd.tools.data.check import check_data
from ssd.tools.data.check_report import report_to_text
from ssd.tools.data.writers import make_xml
from ssd.utils.errors import DatasetError
from tests.data.datasets.one_image import PNG

NAMES = ("a", "b c", "größe 猫", "x.y", "7", "UPPER", "a_jpg.rf.0b1c", "it's", "100%", "-")
BOX = (4, 6, 14, 26)


class Item(NamedTuple):
    """An image as it is written."""

    name: str  # without suffix
    num_objects: int
    has_image: bool
    has_label: bool
    suffix: str

    @property
    def file(self) -> str:
        return self.name + self.suffix


def write_image(folder: Path, item: Item) -> None:
    (folder / item.file).parent.mkdir(parents=True, exist_ok=True)
    if item.has_image:
        (folder / item.file).write_bytes(PNG)


def write_yolo(root: Path, items: Sequence[Item], labels: str = "labels") -> dict[str, Any]:
    (root / "classes.txt").write_text("cat\n")
    for item in items:
        write_image(root / "images", item)
        path = root / labels / f"{item.name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if item.has_label:
            path.write_text("0 0.5 0.5 0.25 0.25\n" * item.num_objects)
    return {"FORMAT": "yolo", "ROOT": str(root)}


def write_yolo_beside(root: Path, items: Sequence[Item]) -> dict[str, Any]:
    return write_yolo(root, items, labels="images")


def write_voc(root: Path, items: Sequence[Item]) -> dict[str, Any]:
    box = list(zip(("xmin", "ymin", "xmax", "ymax"), BOX, strict=True))
    for item in items:
        write_image(root / "JPEGImages", item)
        path = root / "Annotations" / f"{item.name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        if item.has_label:
            objects = [("object", [("name", "cat"), ("bndbox", box)])] * item.num_objects
            path.write_bytes(ElementTree.tostring(make_xml("annotation", objects), "utf-8"))
    return {"FORMAT": "voc", "ROOT": str(root), "CLASSES": ["cat"]}


def write_coco(root: Path, items: Sequence[Item]) -> dict[str, Any]:
    images, annotations = [], []
    for number, item in enumerate(items):
        write_image(root, item)
        if item.has_image:
            images.append({"id": number, "file_name": item.file})
        one = {"image_id": number, "category_id": 1, "bbox": [4, 6, 10, 20]}
        annotations += [one] * item.num_objects * item.has_label
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    (root / "boxes.json").write_text(json.dumps(content))
    return {"FORMAT": "coco", "IMAGES": str(root), "ANNOTATIONS": str(root / "boxes.json")}


def write_csv(root: Path, items: Sequence[Item]) -> dict[str, Any]:
    rows: list[Sequence[object]] = [("filename", "xmin", "ymin", "xmax", "ymax", "class")]
    for item in items:
        write_image(root / "images", item)
        if item.has_label:
            rows += [(item.file, *BOX, "cat")] * item.num_objects or [(item.file, "", "", "", "", "")]
    with open(root / "boxes.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return {"FORMAT": "csv", "IMAGES": str(root / "images"), "ANNOTATIONS": str(root / "boxes.csv"), "CLASSES": ["cat"]}


Write = Callable[[Path, Sequence[Item]], dict[str, Any]]
WRITERS: list[Write] = [write_yolo, write_yolo_beside, write_voc, write_coco, write_csv]


@st.composite
def items(draw: st.DrawFn) -> list[Item]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
    folders = st.sampled_from(["", "sub/", "sub/ein ordner/"])
    whole = st.sampled_from([(True, True), (True, True), (False, True), (True, False)])  # image, label
    suffixes = st.sampled_from([".png", ".PNG", ".jpe", ".heic", ".xyz", ""])
    return [Item(draw(folders) + name, draw(st.integers(0, 3)), *draw(whole), draw(suffixes)) for name in names]


@pytest.mark.parametrize("write", WRITERS)
@settings(max_examples=30)
@given(written=items())
def test_nothing_is_lost_silently(write: Write, written: list[Item]) -> None:
    """Objects that are read and objects that are reported are those that were written."""
    with tempfile.TemporaryDirectory() as folder:
        entry = write(Path(folder), written)
        num_written = sum(item.num_objects for item in written if item.has_label)
        try:
            dataset = make_dataset("own", {"own": entry}, is_train=True)
        except DatasetError:
            usual = [item for item in written if item.suffix in (".png", ".PNG", ".jpe")]
            least = 1 if write is write_coco else 0  # an image without objects lacks annotations there
            whole = [item for item in usual if item.has_image and item.has_label and item.num_objects >= least]
            assert not whole  # nothing was left
            return
        assert isinstance(dataset, ArrayDataset)
        num_read = sum(len(dataset.get_annotation(row)[1][1]) for row in range(len(dataset)))
        assert num_read + sum(tally.num_objects for tally in dataset.tallies) == num_written
        assert sum(tally.is_loss for tally in dataset.tallies) or num_read == num_written


WRITTEN = [
    Item("a", 2, True, True, ".png"),
    Item("b", 1, True, False, ".png"),
    Item("c", 3, False, True, ".png"),
    Item("d", 1, True, True, ".heic"),
    Item("e", 0, True, True, ".jpe"),
]
EXPECTED = {  # images and objects that are read, and the number of each kind of tally
    "write_yolo": "3 images, 2 objects; 1 images without annotation; 2 annotations without image (4 objects); 1 files",
    "write_voc": "2 images, 2 objects; 1 images without annotation; 2 annotations without image (4 objects); 1 files",
    "write_coco": "4 images, 3 objects; 2 images without annotation; 3 annotations without image (3 objects)",
    "write_csv": "3 images, 3 objects; 1 images without annotation; 1 annotations without image (3 objects)",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_training_and_check_count_alike(name, tmp_path, caplog, make_cfg) -> None:
    custom = {"own": globals()[name](tmp_path, WRITTEN)}
    with caplog.at_level(logging.INFO):
        dataset = make_dataset("own", custom, is_train=True)
    (record,) = (record for record in caplog.records if record.getMessage().startswith("dataset 'own'"))
    assert record.levelname == "WARNING"
    logged = re.sub(r": (?!\d)[^;]*", "", record.getMessage().removeprefix("dataset 'own': "))
    assert logged.startswith(EXPECTED[name])
    report = check_data(make_cfg(custom, **{"DATASETS.TRAIN": ("own",), "DATASETS.TEST": ()}))
    (item,) = report.sets
    assert item.tallies == dataset.tallies
    assert f"{item.images_readable} images" in logged
    assert f"{report.totals('train')['cat']} objects" in logged
    for tally in item.tallies:
        assert str(tally) in record.getMessage()
        assert str(tally) in report_to_text(report)
    problems = [problem for problem in item.problems if problem.kind == "not read"]
    assert [problem.severity for problem in problems] == ["warning"] * sum(tally.is_loss for tally in item.tallies)


def test_sets_without_omissions_have_no_tallies(tmp_path: Path) -> None:
    for write in WRITERS:
        root = tmp_path / write.__name__
        root.mkdir()
        dataset = make_dataset("own", {"own": write(root, [WRITTEN[0], WRITTEN[4]])}, is_train=True)
        tallies = [str(tally) for tally in dataset.tallies]
        assert tallies == (["1 images without annotation"] if write is write_coco else []), write


@pytest.mark.parametrize("write", WRITERS)
def test_annotations_of_no_image_are_an_error(write: Write, tmp_path: Path) -> None:
    alone = [WRITTEN[2]] if write is not write_coco else [WRITTEN[2], WRITTEN[1]]
    with pytest.raises(DatasetError, match=r"none of|no image"):
        make_dataset("own", {"own": write(tmp_path, alone)}, is_train=True, on_error="skip")


def test_regions_that_are_no_objects_are_counted(tmp_path: Path) -> None:
    entry = write_coco(tmp_path, WRITTEN)
    content = json.loads((tmp_path / "boxes.json").read_text())
    content["annotations"][0]["iscrowd"] = 1
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    dataset = make_dataset("own", {"own": entry}, is_train=True)
    assert "1 regions of crowds" in [str(tally) for tally in dataset.tallies]


def test_fractions_and_pixels_are_not_confused(tmp_path: Path) -> None:
    """Where all boxes of a file are fractions, and in a table of Open Images where some are not."""
    root = tmp_path / "voc"
    entries = {"voc": write_voc(root, WRITTEN[:1]), "coco": write_coco(tmp_path, WRITTEN[:1])}
    path = root / "Annotations/a.xml"
    path.write_text(re.sub(r">(\d+)</[xy]", lambda match: f">{int(match[1]) / 40}</x", path.read_text()))
    path.write_text(re.sub(r"<(xmin|ymin|xmax|ymax)>([\d.]+)</x\w+>", r"<\1>\2</\1>", path.read_text()))
    text = (tmp_path / "boxes.json").read_text()
    (tmp_path / "boxes.json").write_text(text.replace("[4, 6, 10, 20]", "[0.1, 0.2, 0.25, 0.6666]"))
    entries["csv"] = write_csv(tmp_path, WRITTEN[:1])
    (tmp_path / "boxes.csv").write_text("filename,xmin,ymin,xmax,ymax,class\na.png,0.1,0.2,0.35,1.001,cat\n")
    for name, entry in entries.items():
        with pytest.raises(DatasetError, match=r"fractions.*width") as caught:
            make_dataset(name, {name: entry}, is_train=True)
        assert Path(caught.value.path or "").name in ("a.xml", "boxes.json", "boxes.csv")
    (tmp_path / "boxes.csv").write_text("ImageID,XMin,YMin,XMax,YMax,LabelName\na,10,5,20,20,cat\n")
    with pytest.raises(DatasetError, match=r"boxes\.csv: .* up to 20.*pixels"):
        make_dataset("csv", {"csv": {**entries["csv"], "IMAGES": str(tmp_path / "images")}}, is_train=True)
    (tmp_path / "boxes.csv").write_text("filename,xmin,ymin,xmax,ymax,class\na.png,0,0,1,1,cat\n")  # one pixel
    boxes, _ = make_dataset("csv", {"csv": entries["csv"]}, is_train=True).get_annotation(0)[1]
    assert boxes.tolist() == [[0, 0, 1, 1]]
