"""The check of datasets finds what was put in, all of it, and nothing in sound data."""

import json
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
from ssd.tools.data.check import DataReport, check_data, report_to_text
from ssd.utils.errors import ConfigError, ImageError

CAT, DOG = ("cat", (1, 1, 21, 11)), ("dog", (2, 2, 12, 22))


def kinds(report: DataReport) -> dict[str, int]:
    return dict(Counter(problem.kind for problem in report.all_problems))


def voc(root: Path, split: str, **extra: Any) -> dict[str, Any]:
    return {"FORMAT": "voc", "ROOT": str(root), "SPLIT": split, **extra}


@pytest.fixture
def check(make_cfg: Callable[..., Config]) -> Callable[..., DataReport]:
    """Check ``custom`` sets; those whose name begins with "test" are tested on."""

    def run(custom: dict[str, Any]) -> DataReport:
        roles = {
            "DATASETS.TRAIN": tuple(name for name in custom if not name.startswith("test")),
            "DATASETS.TEST": tuple(name for name in custom if name.startswith("test")),
        }
        return check_data(make_cfg(custom, **roles))

    return run


def test_sound_sets_are_clean_and_counted(write_voc: Callable[..., Path], check: Callable[..., DataReport]) -> None:
    root = write_voc({"a": [CAT, DOG, CAT], "b": [], "c": [(*DOG, 1)]})
    write_voc({"0": [], "1": [], "2": [], "d": [CAT]}, root="voc", split="test")
    (root / "ImageSets/Main/test.txt").write_text("d\n")
    report = check({"cells": voc(root, "train"), "test_cells": voc(root, "test")})
    assert kinds(report) == {}
    assert (report.num_errors, report.num_warnings) == (0, 0)
    train, test = report.sets
    assert (train.name, train.role, train.num_listed, train.num_readable) == ("cells", "train", 3, 3)
    assert (test.name, test.role, test.num_listed, test.num_readable) == ("test_cells", "test", 1, 1)
    assert train.objects is not None
    assert train.objects.by_class == {"cat": 2, "dog": 2}
    assert train.objects.images_by_class == {"cat": 1, "dog": 2}
    assert train.objects.num_images_without == 1
    assert train.objects.widths == pytest.approx((10, 10, 15, 20, 20))  # of 10, 10, 20 and 20
    assert train.objects.heights == pytest.approx((10, 10, 15, 20, 20))
    assert train.objects.sides == pytest.approx([(200 / 1200) ** 0.5] * 5)
    assert report.totals("test") == {"cat": 1, "dog": 0}


def test_every_mistake_of_a_voc_set_is_found(
    write_voc: Callable[..., Path], check: Callable[..., DataReport], caplog: pytest.LogCaptureFixture
) -> None:
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
            "corrupt": [CAT],
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
    (images / "corrupt.png").write_bytes(b"text")
    (images / "truncated.png").write_bytes((images / "truncated.png").read_bytes()[:-400])
    (images / "missing.png").unlink()
    with (root / "ImageSets/Main/train.txt").open("a") as file:
        file.write("nowhere\n")
    report = check({"cells": voc(root, "train", CLASSES=["cat", "dog"])})
    assert kinds(report) == {
        "box inverted": 1,
        "box of zero area": 1,
        "box outside the image": 1,
        "box clipped to the image": 1,
        "unknown class": 1,
        "malformed annotation": 3,
        "missing annotation file": 1,
        "missing image": 1,
        "empty image": 1,
        "corrupt image": 2,
        "size mismatch": 1,
        "size slip": 2,
    }
    assert report.num_warnings == 3
    assert report.sets[0].num_listed == 14
    assert report.sets[0].num_readable == 7
    for problem in report.all_problems:
        assert problem.path, problem
        assert problem.field in problem.message
    fields = {problem.kind: problem.field for problem in report.all_problems}
    assert fields["box inverted"] == "object 1 of 4"
    assert fields["unknown class"] == "object 1 of 2"
    assert not caplog.records  # the report says it all


def coco(root: Path, name: str) -> dict[str, Any]:
    return {"FORMAT": "coco", "IMAGES": str(root), "ANNOTATIONS": str(root / name)}


def test_every_mistake_of_a_coco_set_is_found(write_coco: Callable, check: Callable[..., DataReport]) -> None:
    names = ("1.png", "2.png", "3.png", "4.png", "5.png")
    content = {
        "images": [{"id": i, "file_name": name, "width": 40, "height": 30} for i, name in enumerate(names)],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 7, "image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5]}],
    }
    folder, path = write_coco(content)
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((30, 40, 3), number * 20, np.uint8))
    (folder / "2.png").unlink()
    (folder / "3.png").write_bytes(b"")
    content["images"][3]["height"] = 60
    content["images"][4]["width"] = "40"
    content["images"] += [{"id": 9, "file_name": "../1.png"}, {"id": 0, "file_name": "1.png"}, {"id": 10}]
    content["annotations"] += [
        {"id": 8, "image_id": 0, "category_id": 1, "bbox": [1, 1, 0, 5]},
        {"id": 9, "image_id": 0, "category_id": 1, "bbox": [1, 1, -2, 5]},
        {"id": 10, "image_id": 4, "category_id": 1, "bbox": [20, 20, 30, 5]},
        {"id": 11, "image_id": 0, "category_id": 5, "bbox": [1, 1, 2, 5]},
        {"id": 12, "image_id": 0, "category_id": 1, "bbox": [1, 1, 2]},
    ]
    path.write_text(json.dumps(content))
    report = check({"shop": {"FORMAT": "coco", "IMAGES": str(folder), "ANNOTATIONS": str(path)}})
    assert kinds(report) == {
        "malformed annotation": 4,
        "unknown class": 1,
        "size slip": 1,
        "box of zero area": 1,
        "box inverted": 1,
        "box clipped to the image": 1,
        "missing image": 1,
        "empty image": 1,
        "size mismatch": 1,
    }
    assert report.sets[0].num_listed == 8
    assert report.sets[0].num_readable == 2
    fields = {problem.kind: problem.field for problem in report.all_problems}
    assert fields["box inverted"] == "annotation 9 of image 0"
    assert fields["unknown class"] == "annotation 11 of image 0"


def test_duplicates_are_found_by_content(write_voc: Callable[..., Path], check: Callable[..., DataReport]) -> None:
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
    assert (report.num_errors, report.num_warnings) == (0, 2)


def test_overlap_of_training_and_testing_is_found_by_content(
    write_voc: Callable[..., Path], check: Callable[..., DataReport]
) -> None:
    train = write_voc({"a": [CAT], "b": [CAT]}, root="one")
    test = write_voc({"x": [CAT], "y": [CAT], "a": [CAT]}, root="two", split="test")
    shutil.copy(train / "JPEGImages/b.png", test / "JPEGImages/y.png")
    cv2.imwrite(str(test / "JPEGImages/x.png"), np.zeros((30, 40, 3), np.uint8))  # and a.png only shares the name
    report = check({"cells": voc(train, "train"), "test_cells": voc(test, "test")})
    (problem,) = report.problems
    assert problem.kind == "train/test overlap"
    assert problem.path == str(test / "JPEGImages/y.png")
    assert str(train / "JPEGImages/b.png") in problem.message
    assert report.num_errors == 1
    assert f"\nbetween the datasets\n  error: train/test overlap: 1\n    {problem.message}\n" in report_to_text(report)


def test_it_goes_on_after_a_set_that_cannot_be_used(
    write_voc: Callable[..., Path], check: Callable[..., DataReport], tmp_path: Path
) -> None:
    root = write_voc({"a": [("dog", (9, 1, 5, 9)), CAT]})
    custom = {
        "one": voc(tmp_path / "nowhere", "train"),
        "two": {"FORMAT": "vco"},
        "three": voc(root, "train"),
        "test_four": voc(root, "test"),
    }
    report = check(custom)
    assert [item.objects is None for item in report.sets] == [True, True, False, True]
    assert kinds(report) == {"unusable dataset": 3, "box inverted": 1}
    assert "nowhere does not exist" in report.sets[0].problems[0].message
    assert "did you mean 'voc'" in report.sets[1].problems[0].message


def test_classes_that_differ(write_voc: Callable[..., Path], check: Callable[..., DataReport]) -> None:
    root = write_voc({"a": [CAT]})
    custom = {"one": voc(root, "train", CLASSES=["cat"]), "two": voc(root, "train", CLASSES=["cat", "dog"])}
    assert kinds(check(custom))["different classes"] == 1


def test_testing_knows_the_classes_of_training(
    write_voc: Callable[..., Path], check: Callable[..., DataReport]
) -> None:
    train = write_voc({"a": [CAT]}, root="one")
    test = write_voc({"0": [], "b": [CAT, DOG]}, root="two", split="test")
    (test / "ImageSets/Main/test.txt").write_text("b\n")
    report = check({"cells": voc(train, "train"), "test_cells": voc(test, "test")})
    (problem,) = report.all_problems
    assert (problem.kind, problem.field) == ("unknown class", "object 2 of 2")


def test_nothing_to_check_is_an_error(make_cfg: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"DATASETS\.TRAIN and DATASETS\.TEST are empty"):
        check_data(make_cfg())


def test_formats_from_elsewhere_are_checked_too(check: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert report.sets[0].num_listed == 4
    assert report.totals("train") == {"thing": 4}


def test_boxes_of_a_table_are_told_with_their_rows(write_voc: Callable[..., Path], check: Callable) -> None:
    folder = write_voc({"a": []}) / "JPEGImages"
    table = folder / "boxes.csv"
    table.write_text("a.png,9,2,3,8,cat\na.png,1,2,3,4,cat\na.png,50,2,60,8,cat\n")
    report = check({"cells": {"FORMAT": "csv", "ANNOTATIONS": str(table)}})
    assert kinds(report) == {"box inverted": 1, "box outside the image": 1}
    first, last = sorted(report.all_problems, key=lambda problem: problem.field)
    assert (first.field, last.field) == ("row 1", "row 3")
    assert first.message == f"{table}: row 1: the box [9.0, 2.0, 3.0, 8.0] is inverted"


def test_the_text_shows_the_first_and_counts_all(write_voc: Callable[..., Path], check: Callable) -> None:
    root = write_voc({f"{i}": [("cat", (9, 1, 5, 9)), CAT] for i in range(8)})
    report = check({"cells": voc(root, "train")})
    text = report_to_text(report, num_shown=3)
    assert "cells (train): 8 images listed, 8 readable" in text
    assert "  8 objects; 0 images without any\n" in text
    assert "error: box inverted: 8" in text
    assert text.count("is inverted") == 3
    assert "... and 5 more" in text
    assert "\nclass     train      test\ncat           8         0\n" in text
    assert text.endswith("errors: 8, warnings: 0\n")
    assert "inverted\n" not in report_to_text(report, num_shown=0)
