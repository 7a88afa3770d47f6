"""File names of other systems and in sub-folders, as the annotations of every format write them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssd.data.catalog import DATASET_FORMATS, make_dataset
from ssd.data.datasets.find import find_layout
from ssd.data.datasets.paths import files_below, find_file
from ssd.tools.data.source import open_datasets
from ssd.utils.errors import DatasetError

XML = (
    "<annotation><folder>{}</folder><filename>{}</filename><size><width>40</width><height>30</height></size><object>"
    "<name>cat</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>12</xmax><ymax>13</ymax></bndbox></object></annotation>"
)
FORMATS = ("voc", "coco", "yolo", "csv")
NAMES = ("job/a.png", r"job\a.png", "Job/A.PNG", r"job\A.png")


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((30, 40, 3), 90, np.uint8))


def write_set(root: Path, kind: str, name: str) -> None:
    """A set of one image, job/a.png in the folder of images, that the annotations call ``name``."""
    write_image(root / ("JPEGImages" if kind == "voc" else "images") / "job/a.png")
    files = {
        "voc": {"Annotations/b.xml": XML.format("", name), "ImageSets/Main/train.txt": "b\n"},
        "coco": {
            "train.json": json.dumps(
                {
                    "images": [{"id": 1, "file_name": name, "width": 40, "height": 30}],
                    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 10]}],
                    "categories": [{"id": 1, "name": "cat"}],
                }
            )
        },
        "yolo": {
            "data.yaml": "train: train.txt\nnames: [cat]\n",
            "train.txt": f"images/{name}\n".replace("/", "\\" if "\\" in name else "/"),
            "labels/job/a.txt": f"0 {6 / 40} {7 / 30} {10 / 40} {10 / 30}\n",
        },
        "csv": {"train.csv": f"filename,width,height,class,xmin,ymin,xmax,ymax\n{name},40,30,cat,1,2,11,12\n"},
    }
    for file, text in files[kind].items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_reads_names_with_folders_of_any_system(tmp_path: Path, kind: str, name: str) -> None:
    write_set(tmp_path, kind, name)
    assert find_layout(tmp_path).title.lower() == kind
    dataset = make_dataset("own", {"own": {"ROOT": str(tmp_path)}}, is_train=True)
    image, target, _ = dataset[0]
    assert image.shape == (30, 40, 3)
    np.testing.assert_allclose(target["boxes"], [[1, 2, 11, 12]], atol=1e-5)


@pytest.mark.parametrize("name", ["job/b.png", r"job\b.png"])
@pytest.mark.parametrize("kind", FORMATS)
def test_an_image_that_is_missing_is_missed_when_the_set_is_read(tmp_path: Path, kind: str, name: str) -> None:
    write_set(tmp_path, kind, name)
    entry = {"FORMAT": kind, "ROOT": str(tmp_path), "SPLIT": "train"}
    if kind in ("coco", "csv"):
        file = tmp_path / f"train.{'json' if kind == 'coco' else 'csv'}"
        entry = {"FORMAT": kind, "IMAGES": str(tmp_path / "images"), "ANNOTATIONS": str(file)}
    with pytest.raises(DatasetError, match=r"b\.(png|xml)|'b'"):
        make_dataset("own", {"own": entry}, is_train=True)


@pytest.mark.parametrize("ids", ["job/a", r"job\a"])
def test_voc_in_sub_folders(tmp_path: Path, ids: str) -> None:
    """As CVAT exports several tasks: both folders have the same sub-folders."""
    write_image(tmp_path / "JPEGImages/job/a.png")
    (tmp_path / "Annotations/job").mkdir(parents=True)
    (tmp_path / "Annotations/job/a.xml").write_text(XML.format("", "job/a.png"))
    assert [len(part) for part in open_datasets(str(tmp_path))[0].values()] == [1]  # without lists
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/default.txt").write_text(f"{ids}\n")
    (dataset,) = open_datasets(str(tmp_path))[0].values()
    assert dataset[0][1]["boxes"].tolist() == [[1, 2, 11, 12]]


def test_voc_divided_by_sub_folders(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_image(tmp_path / "images" / part / "a.png")
        (tmp_path / "annotations" / part).mkdir(parents=True)
        (tmp_path / "annotations" / part / "a.xml").write_text(XML.format(part, "a.png"))
    datasets, _ = open_datasets(str(tmp_path))
    assert {part: len(dataset) for part, dataset in datasets.items()} == {"train": 1, "val": 1}
    write_image(tmp_path / "images/job/a.png")
    (tmp_path / "annotations/job").mkdir()
    (tmp_path / "annotations/job/a.XML").write_text(XML.format("job", "a.png"))
    (dataset,) = open_datasets(str(tmp_path))[0].values()  # job is no split, so all are one set
    assert len(dataset) == 3


def test_voc_images_in_the_folder_that_the_annotation_names(tmp_path: Path) -> None:
    for place, name in (("a.png", r"C:\photos\a.png"), ("job/b.png", "b.png")):
        write_image(tmp_path / "JPEGImages" / place)
        (tmp_path / "Annotations").mkdir(exist_ok=True)
        (tmp_path / f"Annotations/{place[-5]}1.xml").write_text(XML.format("job", name))
    (dataset,) = open_datasets(str(tmp_path))[0].values()
    assert [dataset.image_path(row).name for row in range(2)] == ["a.png", "b.png"]


def test_the_home_folder_in_entries_and_descriptions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_set(tmp_path / "set", "yolo", "job/a.png")
    (tmp_path / "set/data.yaml").write_text("path: ~/set\ntrain: ~/set/list.txt\nnames: [cat]\n")
    (tmp_path / "set/list.txt").write_text("~/set/images/job/a.png\n")
    for entry in ({"ROOT": "~/set"}, {"ROOT": "~/set/data.yaml", "FORMAT": "yolo", "SPLIT": "train"}):
        assert len(make_dataset("own", {"own": entry}, is_train=True)) == 1
    monkeypatch.setenv("COCO_ROOT", "~/coco")
    with pytest.raises(DatasetError, match=f"{tmp_path}/coco/val2017"):
        make_dataset("coco_2017_val", {}, is_train=False)
    opened = []
    monkeypatch.setitem(DATASET_FORMATS, "plugin", lambda *, place, is_train, class_names: opened.append(place))
    make_dataset("own", {"own": {"FORMAT": "plugin", "PLACE": "~/set"}}, is_train=True)
    assert opened == [str(tmp_path / "set")]
    (tmp_path / "set.yaml").write_text("DATASETS: {CUSTOM: {own: {ROOT: ~/set}}}\n")
    assert open_datasets(f"{tmp_path}/set.yaml:own")[1] == "yolo"


def test_files_as_written_come_first(tmp_path: Path) -> None:
    for name in ("job/a.png", "A.png", "a.png", r"job\b.png", "job/b.png", ".hidden/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folder = str(tmp_path)
    for written, found in (
        ("a.png", "a.png"),
        ("A.png", "A.png"),
        (r"job\b.png", r"job\b.png"),
        ("JOB/A.png", "job/a.png"),
    ):
        assert find_file(folder, [written]) == str(tmp_path / found)
    assert find_file(folder, ["c.png", "A.PNG", "a.png"]) == str(tmp_path / "a.png")
    for refused in ("../a.png", r"..\a.png", "b.png", "", "a\0.png", str(tmp_path.parent)):
        assert find_file(str(tmp_path / "job"), [refused]) in (None, str(tmp_path / "job/b.png"))
    assert sorted(files_below(tmp_path)) == ["A.png", "a.png", "job/a.png", "job/b.png", r"job\b.png"]
    (tmp_path / "Late.png").touch()
    assert find_file(folder, ["late.png"]) == str(tmp_path / "Late.png")
