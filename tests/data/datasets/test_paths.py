"""File names of other systems and in sub-folders, as the annotations of every format write them."""

from pathlib import Path

import numpy as np
import pytest

from ssd.data.catalog import DATASET_FORMATS, make_dataset
from ssd.data.datasets.find import find_layout
from ssd.data.datasets.paths import files_below, find_file
from ssd.tools.data.source import open_datasets
from ssd.utils.errors import DatasetError
from tests.data.datasets import one_image
from tests.data.datasets.one_image import CSV, JSON, YOLO_ROW, write_files

XML = one_image.XML.replace("<annotation>", "<annotation><folder>{}</folder><filename>{}</filename>")
FORMATS = ("voc", "coco", "yolo", "csv")
NAMES = ("job/a.png", r"job\a.png", "Job/A.PNG", r"job\A.png")


def write_set(root: Path, kind: str, name: str) -> None:
    """A set of one image, job/a.png in the folder of images, that the annotations call ``name``."""
    files = {
        "voc": {"Annotations/b.xml": XML.format("", name), "ImageSets/Main/train.txt": "b\n"},
        "coco": {"train.json": JSON.replace("a.png", name.replace("\\", "\\\\"))},
        "yolo": {
            "data.yaml": "train: train.txt\nnames: [cat]\n",
            "train.txt": f"images/{name}\n".replace("/", "\\" if "\\" in name else "/"),
            "labels/job/a.txt": YOLO_ROW,
        },
        "csv": {"train.csv": CSV.replace("a.png", name)},
    }
    write_files(root, {("JPEGImages" if kind == "voc" else "images") + "/job/a.png": "", **files[kind]})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_reads_names_with_folders_of_any_system(tmp_path: Path, kind: str, name: str) -> None:
    write_set(tmp_path, kind, name)
    assert find_layout(tmp_path).title.lower() == kind
    dataset = make_dataset("own", {"own": {"ROOT": str(tmp_path)}}, is_train=True)
    image, target, _ = dataset[0]
    assert image.shape == (30, 40, 3)
    np.testing.assert_allclose(target["boxes"], [[1, 2, 11, 12]], atol=1e-5)


@pytest.mark.parametrize("ids", ["job/a", r"job\a"])
def test_voc_in_sub_folders(tmp_path: Path, ids: str) -> None:
    """As CVAT exports several tasks: both folders have the same sub-folders."""
    write_files(tmp_path, {"JPEGImages/job/a.png": "", "Annotations/job/a.xml": XML.format("", "job/a.png")})
    assert [len(part) for part in open_datasets(str(tmp_path))[0].values()] == [1]  # without lists
    write_files(tmp_path, {"ImageSets/Main/default.txt": f"{ids}\n"})
    (dataset,) = open_datasets(str(tmp_path))[0].values()
    assert dataset[0][1]["boxes"].tolist() == [[1, 2, 11, 12]]


def test_voc_divided_by_sub_folders(tmp_path: Path) -> None:
    for part in ("train", "val"):
        xml = XML.format(part, "a.png")
        write_files(tmp_path, {f"images/{part}/a.png": "", f"annotations/{part}/a.xml": xml})
    datasets, _ = open_datasets(str(tmp_path))
    assert {part: len(dataset) for part, dataset in datasets.items()} == {"train": 1, "val": 1}
    write_files(tmp_path, {"images/job/a.png": "", "annotations/job/a.XML": XML.format("job", "a.png")})
    (dataset,) = open_datasets(str(tmp_path))[0].values()  # job is no split, so all are one set
    assert len(dataset) == 3


def test_voc_images_in_the_folder_that_the_annotation_names(tmp_path: Path) -> None:
    for place, name in (("a.png", r"C:\photos\a.png"), ("job/b.png", "b.png")):
        xml = XML.format("job", name)
        write_files(tmp_path, {f"JPEGImages/{place}": "", f"Annotations/{place[-5]}1.xml": xml})
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
    names = ("job/a.png", "A.png", "a.png", r"job\b.png", "job/b.png", ".hidden/a.png")
    write_files(tmp_path, dict.fromkeys(names, ""))
    folder = str(tmp_path)
    for written, found in (*((name, name) for name in ("a.png", "A.png", r"job\b.png")), ("JOB/A.png", "job/a.png")):
        assert find_file(folder, [written]) == str(tmp_path / found)
    assert find_file(folder, ["c.png", "A.PNG", "a.png"]) == str(tmp_path / "a.png")
    for refused in ("../a.png", r"..\a.png", "b.png", "", "a\0.png", str(tmp_path.parent)):
        assert find_file(str(tmp_path / "job"), [refused]) in (None, str(tmp_path / "job/b.png"))
    assert sorted(files_below(tmp_path)) == ["A.png", "a.png", "job/a.png", "job/b.png", r"job\b.png"]
    (tmp_path / "Late.png").touch()
    assert find_file(folder, ["late.png"]) == str(tmp_path / "Late.png")
