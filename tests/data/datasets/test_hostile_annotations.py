"""Malformed and hostile annotations are refused, with file and place, and quickly."""

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from ssd.data.datasets import COCODataset, CSVDataset, VOCDataset, YOLODataset
from ssd.data.datasets.paths import path_inside
from ssd.data.datasets.policy import SkipErrors
from ssd.data.datasets.voc import read_voc_xml
from ssd.utils.errors import DatasetError, ImageError
from ssd.utils.image import write_image

SOUND = [("cat", (1, 1, 9, 9))]


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("kind", [CSVDataset, YOLODataset])
def test_ten_thousand_rows(tmp_path: Path, kind) -> None:
    write_image(np.full((30, 40, 3), 90, np.uint8), tmp_path / "a.png")
    rows = {"classes.txt": "cat\n", "a.txt": "0 0.25 0.5 0.5 0.2\n", "boxes.csv": "a.png,1,2,11,12,cat\n"}
    for name, row in rows.items():
        (tmp_path / name).write_text(row * (1 if name == "classes.txt" else 10_000))
    dataset = kind(tmp_path / "boxes.csv" if kind is CSVDataset else tmp_path)
    assert len(dataset.get_annotation(0)[1][0]) == 10_000


def laughs(levels: int = 9) -> str:
    """Ten to the ``levels`` words, if the entities were expanded."""
    entities = "".join(f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">' for level in range(1, levels + 1))
    return f"<!DOCTYPE a [<!ENTITY e0 'ha'>{entities}]><annotation><filename>&e{levels};</filename></annotation>"


@pytest.mark.parametrize(
    "content",
    [
        laughs().encode(),
        b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation><filename>&e;</filename></annotation>',
        b'<!DOCTYPE a [<!ENTITY e SYSTEM "http://localhost:9/">]><annotation><filename>&e;</filename></annotation>',
        b'<!DOCTYPE a [<!ENTITY % e SYSTEM "file:///etc/passwd"> %e;]><annotation/>',
        b'<!DOCTYPE a [<!ENTITY e "cat">]><annotation/>',
        "<annotation><filename>Zürich</filename></annotation>".encode("latin-1"),
        b'<?xml version="1.0" encoding="utf-7"?><annotation/>',
        b'<?xml version="1.0" encoding="x-unknown"?><annotation/>',
        b"<annotation>\0</annotation>",
        b"<annotation><filename>&#0;</filename></annotation>",
        b"\xff\xfe<\0a\0",
        b"PK\x03\x04",
    ],
)
def test_entities_and_what_is_no_text_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="entities" if b"ENTITY" in content else r"a\.xml: ") as caught:
        read_voc_xml(path)
    assert caught.value.path == str(path)


def test_declared_encodings_are_read(tmp_path: Path) -> None:
    text = "<annotation><filename>Zürich</filename></annotation>"
    for encoding in ("utf-8", "utf-16", "iso-8859-1"):
        (tmp_path / "a.xml").write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode(encoding))
        assert read_voc_xml(tmp_path / "a.xml").filename == "Zürich"


def test_a_tower_of_elements_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<annotation>" + "<object>" * 100_000 + "</object>" * 100_000 + "</annotation>")
    (mistake,) = read_voc_xml(tmp_path / "a.xml").mistakes
    assert (mistake.field, "<name>" in str(mistake)) == ("object 1 of 1", True)


@pytest.mark.parametrize("number", ["1e999", "-inf", "nan", "1e10", "9" * 400, "0x10", "1,5", "١٢x"])
def test_numbers_that_are_no_pixels(write_voc: Callable[..., Path], number: str) -> None:
    box = f"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{number}</xmax><ymax>9</ymax></bndbox>"
    root = write_voc({"a": f"<annotation><object><name>cat</name>{box}</object></annotation>"})
    with pytest.raises(DatasetError, match="<xmax>") as caught:
        VOCDataset(root, "train")
    assert caught.value.field == "object 1 of 1"
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("image_id", ["../../secret", "/etc/passwd", "..", "sub/../../x", "a\0b"])
def test_ids_that_leave_the_folder_are_refused(write_voc: Callable[..., Path], image_id: str) -> None:
    root = write_voc({"a": SOUND})
    (root.parent / "secret.xml").write_text((root / "Annotations/a.xml").read_text())
    (root / "ImageSets/Main/train.txt").write_text(f"a\n{image_id}\n")
    with pytest.raises(DatasetError, match=r"train\.txt: the id|\.\..xml does not exist"):
        VOCDataset(root, "train")
    assert VOCDataset(root, "train", policy=SkipErrors()).ids == ["a"]


def test_a_file_name_in_a_voc_file_cannot_leave_the_folder(write_voc: Callable[..., Path]) -> None:
    root = write_voc({"a": SOUND})
    (root / "JPEGImages/a.png").rename(root / "a.png")
    path = root / "Annotations/a.xml"
    path.write_text(path.read_text().replace("<annotation>", "<annotation><filename>../a.png</filename>"))
    with pytest.raises(DatasetError, match="the image of 'a' is not in"):
        VOCDataset(root, "train")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_regular_file_is_not_waited_for(write_voc: Callable[..., Path]) -> None:
    root = write_voc({"a": SOUND, "b": SOUND, "c": SOUND, "d": SOUND})
    for name in "abc":
        (root / f"Annotations/{name}.xml").unlink()
    os.mkfifo(root / "Annotations/a.xml")
    (root / "Annotations/b.xml").mkdir()
    (root / "Annotations/c.xml").symlink_to("c.xml")
    policy = SkipErrors()
    assert VOCDataset(root, "train", policy=policy).ids == ["d"]
    assert all(f"{name}.xml" in str(error) for name, error in zip("abc", policy.first, strict=True))
    (root / "JPEGImages/d.png").unlink()
    os.mkfifo(root / "JPEGImages/d.png")
    (root / "ImageSets/Main/train.txt").write_text("d\n")
    with pytest.raises(ImageError, match=r"d\.png"):
        VOCDataset(root, "train")[0]
    with pytest.raises(DatasetError, match="none of 1 images"):
        VOCDataset(root, "train", policy=SkipErrors())


def test_what_must_not_be_read(write_voc: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_voc({"a": SOUND})
    refuse = Mock(side_effect=PermissionError(errno.EACCES, os.strerror(errno.EACCES)))  # root may read everything
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DatasetError, match="Permission denied") as caught:
        VOCDataset(root, "train")
    assert caught.value.path == str(root / "ImageSets/Main/train.txt")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match=r"val\.txt .*Main; it holds: nothing"):
        VOCDataset(root, "val")


INSIDE = ["a.png", "..png", "sub/a.png", "sub/../a.png", "./a.png", "/i/sub/a.png", "Zürich.png", "../i/a.png"]
OUTSIDE = ["../a.png", "../i2/a.png", "sub/../../a.png", "/etc/passwd", "/i", "", ".", "..", "a\0"]


def test_paths_inside_a_folder() -> None:
    assert [path_inside("/i", name) for name in INSIDE] == [os.path.join("/i", name) for name in INSIDE]
    assert [path_inside("/i", name) for name in OUTSIDE] == [None] * len(OUTSIDE)


def coco(**changes: Any) -> dict[str, Any]:
    content = {
        "images": [{"id": 1, "file_name": "1.png", "width": 40, "height": 30}],
        "categories": [{"id": 2, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]}],
    }
    return {**content, **changes}


def changed(section: str, **values: Any) -> str:
    """The JSON text of a file whose first entry of a section has other values."""
    return json.dumps(coco(**{section: [{**coco()[section][0], **values}]}))


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        (json.dumps({"images": [], "categories": []}), r"annotations: .* \['images', 'categories'\]"),
        (json.dumps(coco(images=[{"file_name": "7.png"}])), r"images\[0\]: lacks id"),
        (json.dumps(coco(images=[])), "'images'"),
        (json.dumps(coco(categories=[*coco()["categories"], {"id": 3, "name": "cat"}])), "categories: .* cat$"),
        (json.dumps(coco(categories=[])), "no class names"),
        (json.dumps(coco(annotations=[{"image_id": 1, "category_id": 2}])), r"annotations\[0\]: lacks bbox"),
        (changed("annotations", bbox=[1, 2, 3]), r"image 1 has bbox \[1, 2, 3\]"),
        (changed("annotations", bbox=[1, 2, 3, "x"]), r"image 1 has bbox \[1, 2, 3, 'x'\]"),
        (changed("annotations", category_id=5), "category_id 5 .* 2"),
        ("[]", "not COCO"),
        ('{"images": [\n}', "line 2 column 1"),
        ("[" * 100_000, "broken JSON"),
        ('{"images": ' + "9" * 5000 + "}", "broken JSON"),
        ('{"images": []\0}', "broken JSON"),
        ('{"images": "\udcff"}', "broken JSON"),
        ('{"images": 3, "annotations": [], "categories": []}', "'images'"),
        (
            changed("annotations", bbox=[1, 2, float("nan"), 4]),
            r"annotations\[0\]: of image 1 has bbox \[1, 2, nan, 4\]",
        ),
        (changed("annotations", bbox=[1, 2, float("inf"), 4]), r"bbox \[1, 2, inf, 4\]"),
        (changed("annotations", bbox=[1, 2, 10**400, 4]), "bbox"),
        (changed("annotations", bbox=[1e308, 2, 1e308, 4]), "bbox"),
        (changed("annotations", bbox={"x": 1}), r"bbox \{'x': 1\}"),
        (changed("annotations", image_id=[1]), r"annotations\[0\]: has image_id \[1\]"),
        (changed("annotations", area="large"), "area 'large'"),
        (changed("annotations", iscrowd=[]), r"iscrowd \[\]"),
        (changed("images", id=10**400), r"images\[0\]: has id 1000"),
        (changed("images", id=True), "id True"),
        (changed("images", file_name=7), "file_name 7"),
        (changed("images", file_name="../../etc/passwd"), r"image 1: .*'\.\./\.\./etc/passwd' is no file inside"),
        (changed("images", file_name="/etc/passwd"), "'/etc/passwd' is no file inside"),
        (changed("images", file_name="a\0.png"), "is no file inside"),
        (changed("images", file_name="\ud800.png"), "is not in"),
        (changed("categories", name=["cat"]), r"name \['cat'\]"),
        (json.dumps(coco(images=coco()["images"] * 2)), r"images\[1\]: has the id 1"),
    ],
)
def test_malformed_coco_files(tmp_path: Path, text: str, fact: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, errors="surrogateescape")
    (tmp_path / "1.png").touch()
    with pytest.raises(DatasetError, match=fact) as caught:
        COCODataset(tmp_path, path)
    assert str(tmp_path) in (caught.value.path or str(caught.value))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("size", [{"width": -40}, {"width": float("nan")}, {"height": "30"}, {"width": 40.5}])
def test_sizes_that_no_image_has_are_read_from_the_image(write_coco: Callable, size: dict[str, Any]) -> None:
    folder, path = write_coco(coco())
    path.write_text(changed("images", **size))
    assert COCODataset(folder, path).get_img_info(0)["width"] == 40


def test_sub_folders_and_absolute_names_inside_the_folder(write_coco: Callable) -> None:
    folder, path = write_coco(coco())
    (folder / "sub").mkdir()
    (folder / "1.png").rename(folder / "sub/1.png")
    for name in ("sub/1.png", str(folder / "sub/1.png")):
        path.write_text(changed("images", file_name=name))
        assert COCODataset(folder, path)[0][0].shape == (30, 40, 3)


def test_missing_coco_files(tmp_path: Path) -> None:
    for folder, missing in ((tmp_path, r"a\.json"), (tmp_path / "images", "images")):
        with pytest.raises(DatasetError, match=rf"{missing} does not exist"):
            COCODataset(folder, tmp_path / "a.json")


def test_ids_as_pandas_writes_them(write_coco: Callable) -> None:
    folder, path = write_coco(coco())
    path.write_text(changed("annotations", image_id=1.0, category_id=2.0))
    assert COCODataset(folder, path).get_annotation(0)[1][1].tolist() == [1]


def test_a_link_to_itself_is_a_missing_image(write_coco: Callable) -> None:
    folder, path = write_coco(coco(images=[*coco()["images"], {"id": 2, "file_name": "2.png"}]))
    (folder / "1.png").unlink()
    (folder / "1.png").symlink_to("1.png")
    assert len(COCODataset(folder, path, policy=(policy := SkipErrors()))) == 1
    assert "1.png does not exist" in str(policy.first[0])
