import logging
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssd.data.datasets import VOCDataset
from ssd.data.datasets.voc import read_voc_xml
from ssd.utils.errors import DatasetError

CAT = ("cat", (1, 1, 9, 9))
BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
ONE_CAT = f"<annotation><object><name>cat</name>{BOX}</object></annotation>"


def test_one_is_subtracted_from_all_corners_and_boxes_are_clipped(write_voc) -> None:
    root = write_voc({"a": [("cat", (1, 1, 40, 30)), ("dog", (5, 6, 9, 12)), ("cat", (0, 0, 10, 10))]})
    dataset = VOCDataset(root, "train")
    image, annotation, index = dataset[0]
    assert dataset.class_names == ("__background__", "cat", "dog")
    assert annotation["boxes"].tolist() == [[0, 0, 39, 29], [4, 5, 8, 11], [0, 0, 9, 9]]
    assert (annotation["labels"].tolist(), index) == ([1, 2, 1], 0)
    assert (annotation["boxes"].dtype, annotation["labels"].dtype) == (np.float32, np.int64)
    assert (image.shape, image.dtype) == ((30, 40, 3), np.uint8)
    stored = cv2.imread(str(root / "JPEGImages" / "a.png"))
    np.testing.assert_array_equal(image, stored[..., ::-1])  # RGB
    assert dataset.get_img_info(0) == {"height": 30, "width": 40}


def test_difficult_objects_are_left_out_of_samples_but_not_of_annotations(write_voc) -> None:
    objects = [("cat", (1, 1, 9, 9), difficult) for difficult in (1, 0, None, "")]
    root = write_voc({"a": objects, "only_difficult": objects[:1], "b": []})
    training = VOCDataset(root, "train")
    testing = VOCDataset(root, "train", keep_difficult=True)
    assert [len(training[i][1]["labels"]) for i in range(3)] == [3, 0, 0]
    assert [len(testing[i][1]["labels"]) for i in range(3)] == [4, 1, 0]
    image_id, (boxes, labels, is_difficult) = training.get_annotation(0)
    assert (image_id, is_difficult.tolist()) == ("a", [True, False, False, False])
    assert (boxes.shape, labels.shape) == ((4, 4), (4,))
    assert training[2][1]["boxes"].shape == (0, 4)


def test_changing_an_annotation_does_not_change_the_dataset(write_voc) -> None:
    dataset = VOCDataset(write_voc({"a": [CAT]}), "train")
    dataset[0][1]["boxes"][:] = 0
    assert dataset[0][1]["boxes"].tolist() == [[0, 0, 8, 8]]


def test_bad_boxes_are_dropped_with_one_warning(write_voc, caplog) -> None:
    a = [("cat", (9, 1, 5, 9)), ("cat", (5, 5, 5, 9)), ("dog", (2, 2, 9, 9)), ("cat", (41, 2, 60, 9))]
    b = [("cat", (1, 9, 5, 3)), ("cat", (-9, 1, 0, 9)), ("cat", (2, 40, 9, 50)), ("dog", (1, 1, 5, 5))]
    with caplog.at_level(logging.WARNING):
        dataset = VOCDataset(write_voc({"a": a, "b": b}), "train", class_names=("__background__", "cat", "dog"))
    (record,) = caplog.records
    message = record.getMessage()
    assert "6 of 8 boxes" in message
    for number, kind in ((1, "inverted"), (2, "of zero area"), (4, "outside")):
        assert re.search(rf"a\.xml: object {number} of 4 \[.*\] is {kind}", message)
    assert message.count(".xml") == 5
    assert [dataset.get_annotation(i)[1][1].tolist() for i in (0, 1)] == [[2], [2]]
    assert dataset.get_annotation(1)[1][0].tolist() == [[0, 0, 4, 4]]


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>", "<size/>"])
def test_missing_size_is_read_from_the_image(write_voc, size) -> None:
    wide = ONE_CAT.replace("<xmax>9<", "<xmax>99<").replace("<object>", f"{size}<object>")
    dataset = VOCDataset(write_voc({"a": wide}), "train")
    assert dataset.get_img_info(0) == {"height": 30, "width": 40}
    assert dataset.get_annotation(0)[1][0].tolist() == [[0, 0, 40, 8]]


def test_annotation_and_image_apart_are_the_sample(write_voc) -> None:
    dataset = VOCDataset(write_voc({"a": [("cat", (1, 1, 9, 9)), ("dog", (2, 2, 9, 9), 1)]}, suffix=".jpg"), "train")
    image, target, _ = dataset[0]
    apart, reduction = dataset.read_image(0)
    np.testing.assert_array_equal(apart, image)
    assert reduction == 1
    for name in ("boxes", "labels"):
        np.testing.assert_array_equal(dataset.get_target(0)[name], target[name])
    reduced, reduction = dataset.read_image(0, 4)
    assert (reduced.shape, reduction) == ((8, 10, 3), 4)


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".PNG", ".bmp", ".webp"])
def test_image_suffixes(write_voc, suffix) -> None:
    assert VOCDataset(write_voc({"a": [CAT]}, suffix=suffix), "train")[0][0].shape == (30, 40, 3)


def test_image_named_by_filename(write_voc) -> None:
    root = write_voc({"a": [CAT], "A": [CAT]})
    images = root / "JPEGImages"
    (images / "a.png").rename(images / "photo 1.png")
    (images / "A.png").unlink()
    with pytest.raises(DatasetError, match="the image of 'a' is not in"):
        VOCDataset(root, "train")
    for name in ("a", "A"):
        path = root / "Annotations" / f"{name}.xml"
        path.write_text(path.read_text().replace("<annotation>", "<annotation><filename>photo 1.png</filename>"))
    assert VOCDataset(root, "train")[0][0].shape == (30, 40, 3)


def test_blank_lines_and_byte_order_mark_in_split_files(write_voc) -> None:
    root = write_voc({"a": [CAT], "b": []})
    (root / "ImageSets/Main/train.txt").write_bytes(b"\xef\xbb\xbfa  \r\n\r\nb\n\n")
    assert VOCDataset(root, "train").ids == ["a", "b"]


def test_names_fall_back_to_lower_case(write_voc) -> None:
    root = write_voc({"a": [(" Cat ", (1, 1, 9, 9)), ("DOG", (1, 1, 9, 9))]})
    dataset = VOCDataset(root, "train", class_names=("__background__", "cat", "DOG"))
    assert dataset.get_annotation(0)[1][1].tolist() == [1, 2]
    assert VOCDataset(root, "train").class_names == ("__background__", "Cat", "DOG")


@pytest.mark.parametrize(
    ("xml", "field", "fact"),
    [
        ("<annotation><object></annotation>", "", "line 1"),
        ("", "", "XML"),
        ("<html/>", "", "<html>"),
        (ONE_CAT.replace("<name>cat</name>", ""), "object 1 of 1", "<name>"),
        (ONE_CAT.replace("cat", "__background__"), "object 1 of 1", "__background__"),
        (ONE_CAT.replace(BOX, ""), "object 1 of 1", "<bndbox>"),
        (ONE_CAT.replace(">9<", ">nine<"), "object 1 of 1", "<xmax> is 'nine'"),
        (ONE_CAT.replace("ymin", "top"), "object 1 of 1", "<ymin> is missing"),
        (ONE_CAT.replace("cat", "cta"), "object 1 of 1", r"unknown class 'cta'; did you mean 'cat'\?.* cat, dog"),
    ],
)
def test_malformed_annotations(write_voc, xml, field, fact) -> None:
    root = write_voc({"a": xml})
    with pytest.raises(DatasetError, match=fact) as caught:
        VOCDataset(root, "train", class_names=("__background__", "cat", "dog"))
    assert (caught.value.path, caught.value.field) == (str(root / "Annotations/a.xml"), field)


def test_missing_paths(write_voc, tmp_path) -> None:
    root = write_voc({"a": [CAT]})

    def assert_missing(pattern: str, folder: Path = root, split: str | None = "train") -> None:
        with pytest.raises(DatasetError, match=pattern):
            VOCDataset(folder, split)

    assert_missing(r"vocc .*did you mean voc\?", tmp_path / "vocc")
    assert_missing(r"test\.txt .*it holds: train\.txt", split="test")
    (root / "ImageSets/Main/train.txt").write_text("\n\n")
    assert_missing(r"train\.txt: .*no image")
    (root / "ImageSets/Main/train.txt").write_text("a\nb\n")
    assert_missing(r"b\.xml does not exist")
    (root / "ImageSets/Main/train.txt").write_text("a\n")
    (root / "JPEGImages" / "a.png").unlink()
    assert_missing("the image of 'a'")
    (root / "JPEGImages").rmdir()
    assert_missing("JPEGImages does not exist")
    (root / "Annotations/a.xml").unlink()
    assert_missing(r"Annotations: .*\.xml", split=None)


def test_parts_of_an_object_are_not_objects(tmp_path) -> None:
    part = f"<part><name>head</name>{BOX}</part>"
    path = tmp_path / "a.xml"
    path.write_text(f"<annotation><object><name>person</name>{part}{BOX}</object></annotation>")
    annotation = read_voc_xml(path)
    assert (annotation.names, annotation.boxes.tolist()) == (("person",), [[1, 1, 9, 9]])
