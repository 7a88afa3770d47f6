import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ssd.data.catalog import make_dataset
from ssd.data.datasets import YOLODataset
from ssd.data.datasets.policy import SkipErrors
from ssd.data.datasets.yolo import label_path_of
from ssd.data.datasets.yolo_layout import read_yolo_layout
from ssd.utils.errors import DatasetError
from tests.data.datasets.one_image import write_files

BOX = "0 0.25 0.5 0.5 0.2\n"  # of 40 x 30 pixels: 0, 12, 20, 18


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """images/{train,val}/*.png with labels; b.png has none."""
    labels = {"labels/train/a.txt": BOX, "labels/val/c.txt": "1 0.5 0.5 1 1\n"}
    images = dict.fromkeys([f"images/{name}.png" for name in ("train/a", "train/b", "val/c")], "")
    return write_files(tmp_path, {**labels, **images})


def describe(root: Path, **content: Any) -> None:
    base = {"train": "images/train", "val": "images/val", "names": ["cat", "dog"]}
    (root / "data.yaml").write_text(yaml.safe_dump({**base, **content}))


def test_boxes_and_images_without_objects(root: Path) -> None:
    describe(root)
    dataset = YOLODataset(root, "train")
    assert dataset.class_names == ("__background__", "cat", "dog")
    assert dataset.ids == ["images/train/a.png", "images/train/b.png"]
    _, (boxes, labels) = dataset.get_annotation(0)
    np.testing.assert_allclose(boxes, [[0, 12, 20, 18]], atol=1e-5)
    assert (boxes.dtype, labels.tolist()) == (np.float32, [1])
    assert dataset.get_annotation(1)[1][0].shape == (0, 4)
    assert YOLODataset(root, "val").get_annotation(0)[1][1].tolist() == [2]
    assert len(YOLODataset(root)) == 3
    describe(root, train="images", test=None)
    assert len(YOLODataset(root, "train")) == 3
    assert pickle.loads(pickle.dumps(dataset))[0][0].shape == (30, 40, 3)


@pytest.mark.parametrize(
    "content",
    [
        {"names": {0: "cat", 1: "dog"}},
        {"nc": 2},
        {"path": "."},
        {"path": "../datasets/elsewhere"},
        {"train": "../images/train"},
        {"train": ["images/train/a.png", "images/train/b.png"]},
        {"train": "train.txt"},
        {"train": "lists/train.txt"},
    ],
    ids=str,
)
def test_ways_to_describe_a_set(root: Path, content: dict[str, Any]) -> None:
    write_files(root, {"train.txt": "./images/train/a.png\nimages/train/b.png\n\n"})
    write_files(root, {"lists/train.txt": f"../images/train/a.png\n{root}/images/train/b.png\n"})
    describe(root, **content)
    dataset = YOLODataset(root / "data.yaml", "train")
    assert [os.path.basename(name) for name in dataset.ids] == ["a.png", "b.png"]
    assert dataset.get_annotation(0)[1][1].tolist() == [1]


def test_labelimg_and_darknet(tmp_path: Path) -> None:
    write_files(tmp_path, {"obj_train_data/a.png": "", "obj_train_data/a.txt": BOX, "obj.names": "cat\n"})
    assert YOLODataset(tmp_path).get_annotation(0)[1][1].tolist() == [1]
    data = "classes = 1\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n"
    write_files(tmp_path, {"train.txt": "data/obj_train_data/a.png\n", "obj.data": data})  # as CVAT writes them
    assert YOLODataset(tmp_path, "train").ids == ["obj_train_data/a.png"]


def test_polygons_and_poses_become_boxes(root: Path) -> None:
    describe(root)
    write_files(root, {"labels/train/a.txt": "1 0.1 0.1 0.5 0.2 0.3 0.6\n0 0 0 0.5 0 0.5 0.5 0 0.5\n"})
    dataset = YOLODataset(root, "train")
    np.testing.assert_allclose(dataset.get_annotation(0)[1][0], [[4, 3, 20, 18], [0, 0, 20, 15]], atol=1e-5)
    assert dataset.num_polygons == 2
    describe(root, kpt_shape=[2, 3])
    write_files(root, {"labels/train/a.txt": "0 0.25 0.5 0.5 0.2 0.1 0.1 2 0.3 0.3 1\n"})
    np.testing.assert_allclose(YOLODataset(root, "train").get_annotation(0)[1][0], [[0, 12, 20, 18]], atol=1e-5)


def test_the_folder_of_labels() -> None:
    assert label_path_of(Path("/images/x/images/train/a.b.png")) == Path("/images/x/labels/train/a.b.txt")
    assert label_path_of(Path("/data/a.png")) == Path("/data/a.txt")
    assert label_path_of(Path("/x/Images/a.png")) == Path("/x/Labels/a.txt")


MISTAKES = {
    "7 0.5 0.5 0.1 0.1": "'7'; data.yaml names the classes 0 to 1",
    "cat 0.5 0.5 0.1 0.1": "'cat'",
    "0 nan 0.5 0.1 0.1": "fractions",
    "0 1e999 0.5 0.1 0.1": "fractions",
    "0 200 150 60 40": "pixels",
    "0 0.5 0.5 0.1 0.1 0.9": "6 numbers",
    "0 a b c d": "'a b c d'",
    "0 " + "9" * 5000 + " 0 0 0": "999",
}


@pytest.mark.parametrize(("row", "fact"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_mistakes_are_raised_or_skipped(root: Path, row: str, fact: str) -> None:
    describe(root)
    write_files(root, {"labels/train/a.txt": f"{BOX}{row}\n"})
    with pytest.raises(DatasetError) as caught:
        YOLODataset(root, "train")
    assert (caught.value.field, caught.value.path) == ("row 2", str(root / "labels/train/a.txt"))
    assert fact in str(caught.value)
    assert len(str(caught.value)) < 600
    policy = SkipErrors()
    assert len(YOLODataset(root, "train", policy=policy).get_annotation(0)[1][0]) == 1
    assert policy.count == 1


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        ({"names": "cat"}, "names: must list"),
        ({"names": {0: "a", 2: "b"}}, "classes 0 to 1"),
        ({"names": [["a"]]}, "names: .*'a'"),
        ({"nc": 3}, "nc: is 3, but there are 2"),
        ({"train": "nowhere"}, "nowhere does not exist"),
    ],
)
def test_mistakes_in_the_description(root: Path, content: dict[str, Any], fact: str) -> None:
    describe(root, **content)
    with pytest.raises(DatasetError, match=fact):
        YOLODataset(root / "data.yaml", "train")


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("[007, 010, 08]", ["007", "010", "08"]),
        ("[16:9, 1e3, 1.10, .5, 0x1F, 1_000, 2020-01-31, .inf, =, <<]",
         ["16:9", "1e3", "1.10", ".5", "0x1F", "1_000", "2020-01-31", ".inf", "=", "<<"]),
        ("['no', \"null\", !!str 7, ' a']", ["no", "null", "7", " a"]),
        ("{00: a, 1: 007, '2': c, 03: d, 4: e, 5: f, 6: g, 7: h, 08: i, 09: j, 010: k}",
         ["a", "007", *"cdefghijk"]),
    ],
)  # fmt: skip
def test_class_names_are_as_written(root: Path, written: str, names: list[str]) -> None:
    (root / "data.yaml").write_text(f"train: images/train\nnames: {written}\n")
    assert list(read_yolo_layout(root).names) == names


@pytest.mark.parametrize("written", ["no", "off", "True", "null", "~", "", "{0: no}", "{0: a, 00: b}", "{1_0: a}"])
def test_class_names_that_are_no_text_are_refused(root: Path, written: str) -> None:
    (root / "data.yaml").write_text(f"train: images/train\nnames:\n- a\n- {written}\n")
    if written.startswith("{"):
        (root / "data.yaml").write_text(f"train: images/train\nnames: {written}\n")
    with pytest.raises(DatasetError, match=r"quotes|repeated|0 to 0") as caught:
        YOLODataset(root)
    assert caught.value.path == str(root / "data.yaml")


@pytest.mark.parametrize(
    "text",
    ["", "[", "- 1", "!!python/object/apply:os.system [id]", "a: " + "[" * 2000, "names: !!int x", "\0", "&a [*a]"],
)
def test_hostile_descriptions(root: Path, text: str) -> None:
    (root / "data.yaml").write_text(text)
    with pytest.raises(DatasetError):
        YOLODataset(root / "data.yaml", "train")


def test_missing_pieces(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"data\.yaml, nor obj\.data"):
        YOLODataset(root)
    describe(root)
    with pytest.raises(DatasetError, match=r"test: .*there are: train, val"):
        YOLODataset(root, "test")
    write_files(root, {"list.txt": "../../../etc/passwd\nimages/train/a.png\n"})
    describe(root, train="list.txt")
    with pytest.raises(DatasetError):
        YOLODataset(root, "train")
    assert YOLODataset(root, "train", policy=SkipErrors()).ids == ["images/train/a.png"]
    for path in (root / "labels").rglob("*.txt"):
        path.unlink()
    describe(root)
    with pytest.raises(DatasetError, match=r"none of 2 images .*labels"):
        YOLODataset(root, "train")
    for path in (root / "images").rglob("*.png"):
        path.unlink()
    for split, fact in (("train", "split train"), (None, "folder")):
        with pytest.raises(DatasetError, match=rf"data\.yaml: .*{fact} has no image .*\.jpg"):
            YOLODataset(root, split)


@pytest.mark.parametrize(
    ("names", "images", "fact"),
    [
        ("nmaes.txt", None, r"nmaes\.txt does not exist.* did you mean names\.txt"),
        ("names.txt", None, r"split train: .*list\.txt does not exist"),
        ("names.txt", b"images/train/\xff.png\n", r"list\.txt: not UTF-8"),
    ],
)
def test_missing_pieces_of_darknet(root: Path, names: str, images: bytes | None, fact: str) -> None:
    (root / "obj.data").write_text(f"train = list.txt\nnames = {names}\n")
    write_files(root, {"names.txt": "cat\n"})
    if images is not None:
        (root / "list.txt").write_bytes(images)
    with pytest.raises(DatasetError, match=fact):
        YOLODataset(root, "train")


def test_two_descriptions(root: Path) -> None:
    describe(root)
    (root / "more.yml").write_text((root / "data.yaml").read_text())
    with pytest.raises(DatasetError, match=r"data\.yaml, more\.yml"):
        YOLODataset(root, "train")
    assert len(YOLODataset(root / "more.yml", "train")) == 2


def test_blank_rows_and_rows_that_are_no_text(root: Path) -> None:
    describe(root)
    write_files(root, {"labels/train/a.txt": f"\n  \n{BOX}\n7 0.5 0.5 0.1 0.1\n"})
    with pytest.raises(DatasetError, match=r"a\.txt: row 5"):
        YOLODataset(root, "train")
    (root / "labels/train/a.txt").write_bytes(BOX.encode() + b"\xff")
    with pytest.raises(DatasetError, match=r"a\.txt: not UTF-8"):
        YOLODataset(root, "train")
    policy = SkipErrors()
    assert YOLODataset(root, "train", policy=policy).ids == ["images/train/b.png"]
    assert policy.count == 1


def test_the_entry_of_a_config(root: Path) -> None:
    describe(root)
    entry = {"FORMAT": "yolo", "ROOT": str(root), "SPLIT": "val", "CLASSES": ["dog", "cat"]}
    dataset = make_dataset("mine", {"mine": entry}, is_train=False)
    assert dataset[0][1]["labels"].tolist() == [1]
