import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssd.config import Config
from ssd.data import catalog
from ssd.data.catalog import DATASET_FORMATS
from ssd.structures import Container
from ssd.tools.data.check import check_data
from ssd.tools.data.check_report import DataReport, report_to_text
from ssd.utils.errors import ConfigError, ImageError

Check = Callable[..., DataReport]
CAT, DOG = ("cat", (1, 1, 21, 11)), ("dog", (2, 2, 12, 22))


def kinds(report: DataReport) -> dict[str, int]:
    return dict(Counter(problem.kind for problem in report.all_problems))


def voc(root: Path, split: str, **extra: Any) -> dict[str, Any]:
    return {"FORMAT": "voc", "ROOT": str(root), "SPLIT": split, **extra}


@pytest.fixture
def check(make_cfg: Callable[..., Config]) -> Check:
    """Check ``custom`` sets; those whose name begins with "test" are tested on."""

    def run(custom: dict[str, Any]) -> DataReport:
        test = tuple(name for name in custom if name.startswith("test"))
        train = tuple(name for name in custom if name not in test)
        return check_data(make_cfg(custom, **{"DATASETS.TRAIN": train, "DATASETS.TEST": test}))

    return run


def test_sound_sets_are_clean_and_counted(write_voc, check: Check) -> None:
    root = write_voc({"a": [CAT, DOG, CAT], "b": [], "c": [(*DOG, 1)]})
    write_voc({"0": [], "1": [], "2": [], "d": [CAT]}, split="test")
    (root / "ImageSets/Main/test.txt").write_text("d\n")
    report = check({"cells": voc(root, "train"), "test_cells": voc(root, "test")})
    assert kinds(report) == {}
    train, test = report.sets
    assert (train.name, train.role, train.images_listed, train.images_readable) == ("cells", "train", 3, 3)
    assert (test.name, test.role, test.images_listed, test.images_readable) == ("test_cells", "test", 1, 1)
    assert train.objects.by_class == {"cat": 2, "dog": 2}
    assert train.objects.num_images_without == 1
    assert report.totals("test") == {"cat": 1, "dog": 0}
    text = report_to_text(report)
    assert "\n  4 objects; 1 images without any\n" in text
    assert "\nclass     train      test\ncat           2         1\ndog           2         0\n" in text


def test_every_mistake_of_a_voc_set_is_found(write_voc, check: Check, caplog) -> None:
    sized = "<annotation><size><width>{}</width><height>{}</height></size>{}</annotation>"
    box = "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{}</xmax><ymax>9</ymax></bndbox></object>"
    root = write_voc(
        {
            "sound": [CAT],
            "boxes": [("cat", (9, 1, 5, 9)), ("cat", (5, 5, 5, 9)), ("cat", (50, 2, 60, 9)), ("cat", (-5, 1, 9, 9))],
            "rounding": [("cat", (0, 0, 41, 31))],
            "class": [("cta", (1, 1, 9, 9)), DOG],
            "broken": "<annotation>",
            "fields": "<annotation><object/><object><name>cat</name></object></annotation>",
            "empty": [CAT],
            "truncated": [CAT],
            "missing": [CAT],
            "size": sized.format(80, 30, ""),
            "exchanged": sized.format(30, 40, ""),
            "left": sized.format(20, 30, box.format(39)),
        },
        suffix=".png",
    )
    images = root / "JPEGImages"
    (images / "empty.png").write_bytes(b"")
    (images / "truncated.png").write_bytes((images / "truncated.png").read_bytes()[:-400])
    (images / "missing.png").unlink()
    with (root / "ImageSets/Main/train.txt").open("a") as file:
        file.write("nowhere\n")
    report = check({"cells": voc(root, "train", CLASSES=["cat", "dog"])})
    once = ["box inverted", "box of zero area", "box outside the image", "box clipped to the image", "unknown class"]
    once += ["missing annotation file", "missing image", "empty image", "corrupt image", "size mismatch"]
    assert kinds(report) == {**dict.fromkeys(once, 1), "malformed annotation": 3, "size slip": 2}
    assert (report.count("warning"), report.sets[0].images_listed) == (3, 13)
    assert report.sets[0].images_readable == 7
    assert all(problem.path and problem.field in problem.message for problem in report.all_problems)
    fields = {problem.kind: problem.field for problem in report.all_problems}
    assert fields["box inverted"].startswith("object 1 of 4")
    assert fields["unknown class"] == "object 1 of 2"
    assert not caplog.records  # the report says it all


def test_duplicates_are_found_by_content(write_voc, check: Check) -> None:
    root = write_voc({"a": [CAT], "b": [CAT], "c": [CAT]})
    images = root / "JPEGImages"
    cv2.imwrite(str(images / "b.bmp"), cv2.imread(str(images / "a.png")))  # the same pixels in another format
    (images / "b.png").unlink()
    (root / "ImageSets/Main/train.txt").write_text("a\nb\nc\nc\n")
    report = check({"cells": voc(root, "train")})
    assert kinds(report) == {"duplicate image": 2}
    messages = [problem.message for problem in report.all_problems]
    assert messages[0].endswith(f"b.bmp: the same pixels as {images / 'a.png'}")
    assert messages[1].endswith("c.png: listed more than once")
    assert (report.count("error"), report.count("warning")) == (0, 2)


def test_overlap_of_training_and_testing_is_found_by_content(write_voc, check: Check) -> None:
    train = write_voc({"a": [CAT], "b": [CAT]}, root="one")
    test = write_voc({"x": [CAT], "y": [CAT], "a": [CAT]}, root="two", split="test")
    shutil.copy(train / "JPEGImages/b.png", test / "JPEGImages/y.png")
    cv2.imwrite(str(test / "JPEGImages/x.png"), np.zeros((30, 40, 3), np.uint8))  # and a.png only shares the name
    report = check({"cells": voc(train, "train"), "test_cells": voc(test, "test")})
    (problem,) = report.problems
    assert problem.kind == "train/test overlap"
    assert problem.path == str(test / "JPEGImages/y.png")
    assert str(train / "JPEGImages/b.png") in problem.message
    assert report.count("error") == 1
    assert f"\nbetween the datasets\n  error: train/test overlap: 1\n    {problem.message}\n" in report_to_text(report)


def test_every_pair_of_sets_is_compared(write_voc, check: Check) -> None:
    roots = {name: write_voc({name: [CAT]}, root=name) for name in ("a", "b", "test_c", "test_d")}
    for number, (name, root) in enumerate(roots.items()):
        pixels = np.random.default_rng(number % 2).integers(0, 256, (30, 40, 3))
        cv2.imwrite(str(root / f"JPEGImages/{name}.png"), pixels if number < 3 else np.clip(pixels, 9, 240))
    report = check({name: voc(root, "train") for name, root in roots.items()})
    found = {(Path(problem.path).stem, problem.kind) for problem in report.problems}
    assert found == {("test_c", "train/test overlap"), ("test_d", "near duplicate in train and test")}
    same = {name: voc(roots["a"], "train") for name in ("a", "again")}
    assert kinds(check(same)) == {"duplicate image": 1}


def test_versions_in_training_and_testing_are_found(write_voc, check: Check) -> None:
    """By the name that a photograph has in an export, and by pixels that are turned, mirrored, brighter or coarser."""
    train = write_voc({name: [CAT] for name in ("a_jpg.rf.0a", "b_jpg.rf.1b", "c", "d")}, root="one")
    names = ("0", "1", "2", "3", "a_jpg.rf.2c", "x", "y", "z")
    test = write_voc({name: [CAT] for name in names}, root="two", split="test")
    (test / "ImageSets/Main/test.txt").write_text("a_jpg.rf.2c\nx\ny\nz\n")
    image = cv2.imread(str(train / "JPEGImages/c.png"))
    cv2.imwrite(str(test / "JPEGImages/x.png"), cv2.convertScaleAbs(image[::-1], alpha=1.1))
    cv2.imwrite(str(test / "JPEGImages/y.png"), image)
    report = check({"cells": voc(train, "train"), "test_cells": voc(test, "test")})
    found = {Path(problem.path).stem: (problem.severity, problem.kind) for problem in report.problems}
    assert found == {
        "a_jpg.rf.2c": ("warning", "version in train and test"),
        "x": ("warning", "near duplicate in train and test"),
        "y": ("error", "train/test overlap"),
    }
    assert all(Path(problem.path).name in problem.message for problem in report.problems)
    assert "c.png" in report.problems[1].message


def test_it_goes_on_after_a_set_that_cannot_be_used(write_voc, check: Check, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"DATASETS\.TRAIN"):
        check({})
    root = write_voc({"a": [("dog", (9, 1, 5, 9)), CAT]})
    unusable = {"one": voc(tmp_path / "nowhere", "train"), "two": {"FORMAT": "vco"}}
    report = check({**unusable, "three": voc(root, "train"), "test_four": voc(root, "test")})
    assert [item.objects is None for item in report.sets] == [True, True, False, True]
    assert kinds(report) == {"unusable dataset": 3, "box inverted": 1, "class without objects": 1}
    assert "nowhere" in report.sets[0].problems[0].message


def test_classes_of_several_sets(write_voc, check: Check) -> None:
    train = write_voc({"a": [CAT]}, root="one")
    custom = {"one": voc(train, "train", CLASSES=["cat"]), "two": voc(train, "train", CLASSES=["cat", "dog"])}
    assert kinds(check(custom))["different classes"] == 1
    test = write_voc({"0": [], "b": [CAT, DOG]}, root="two", split="test")
    (test / "ImageSets/Main/test.txt").write_text("b\n")
    (problem,) = check({"cells": voc(train, "train"), "test_cells": voc(test, "test")}).all_problems
    assert (problem.kind, problem.field) == ("unknown class", "object 2 of 2")  # the classes are those of training


def test_a_class_without_objects_is_a_warning(write_voc, check: Check) -> None:
    root = write_voc({"a": [CAT], "b": []})
    test = write_voc({"c": [CAT, ("eel", (1, 1, 9, 9))]}, root="two", split="test")
    cv2.imwrite(str(root / "JPEGImages/b.png"), np.zeros((30, 40, 3), np.uint8))
    cv2.imwrite(str(test / "JPEGImages/c.png"), np.ones((30, 40, 3), np.uint8))
    names = {"CLASSES": ["cat", "dog", "eel"]}
    entries = {"cells": voc(root, "train", **names), "test_cells": voc(test, "test", **names)}
    for custom, unused in ((entries, ["dog", "eel"]), ({"test_cells": entries["test_cells"]}, ["dog"])):
        problems = check(custom).all_problems
        assert [problem.field for problem in problems] == unused
        assert {(problem.severity, problem.kind) for problem in problems} == {("warning", "class without objects")}


def test_similar_class_names_are_a_warning(write_voc, check: Check) -> None:
    root = write_voc({"a": [CAT, ("Cat", (1, 1, 9, 9))]})
    (problem,) = check({"cells": voc(root, "train")}).all_problems
    assert (problem.severity, problem.kind) == ("warning", "similar class names")
    assert "'Cat' and 'cat'" in problem.message


def test_formats_from_elsewhere_are_checked_too(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    class Foreign:
        class_names = ("__background__", "thing")
        metric = "voc"

        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> tuple:
            if index == 1:
                raise ImageError("1.png: damaged")
            image = np.full((20, 30, 3), min(index, 2), np.uint8)
            return image, Container(boxes=self.get_annotation(0)[1][0], labels=np.array([1])), index

        def get_annotation(self, index: int) -> tuple:
            return index, (np.array([[1, 1, 5, 5]], np.float32), np.array([1]))

        def get_img_info(self, index: int) -> dict[str, int]:
            return {"width": 30, "height": 20 if index else 99}

    monkeypatch.setattr(catalog, "DATASET_FORMATS", DATASET_FORMATS.__class__("dataset format"))
    catalog.DATASET_FORMATS.register("foreign")(lambda *, is_train, class_names: Foreign())
    report = check({"foreign": {"FORMAT": "foreign"}})
    assert kinds(report) == {"corrupt image": 1, "size mismatch": 1, "duplicate image": 1}
    assert (report.sets[0].images_listed, report.totals("train")) == (4, {"thing": 4})
