"""Datasets written in one format after the other, and what a format does not hold."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ssd.data.build import unite_class_names
from ssd.data.catalog import make_dataset
from ssd.tools.data.writers import FORMATS, Content, collect_content, write_dataset
from ssd.tools.data.writers.content import Record
from ssd.tools.data.writers.numbers import plain, shortest, start_and_extent
from ssd.utils.errors import ConfigError, DatasetError, OutputError
from ssd.utils.image import write_image

BOXES = {
    "a.png": [([1.5, 2.25, 12.3, 13.7], 1), ([0, 0, 40, 30], 2), ([33.333332, 0.1, 39.999996, 7], 1)],
    "b.png": [],
    "c d.png": [([5, 6, 7, 8], 3)],
}


def read(entries: dict[str, dict[str, Any]]) -> Content:
    datasets = {part: make_dataset(part, {part: entry}, is_train=False) for part, entry in entries.items()}
    unite_class_names(list(datasets), list(datasets.values()))
    return collect_content(datasets)


def plain_content(content: Content) -> dict[str, dict[str, Any]]:
    """Boxes as exact numbers and names of classes, by part and stem of the image."""
    result: dict[str, dict[str, Any]] = {}
    for part, rows in content.parts.items():
        records = [content.records[row] for row in rows]
        result[part] = {
            record.stem: [
                (box, content.class_names[label - 1])
                for box, label in zip(record.boxes.tolist(), record.labels.tolist(), strict=True)
            ]
            for record in sorted(records, key=lambda record: record.stem)
        }
    return result


@pytest.fixture
def source(write_coco: Callable[..., tuple[Path, Path]]) -> dict[str, dict[str, Any]]:
    """Two COCO sets of three classes, the last one only in the second; floats that are no short decimals."""
    categories = [{"id": number, "name": name} for number, name in ((1, "zebra"), (4, "ant"), (9, "it's a <b>, ok"))]
    entries = {}
    for part, files in (("train", ["a.png", "b.png"]), ("val", ["c d.png"])):
        images = [{"id": number, "file_name": file, "width": 40, "height": 30} for number, file in enumerate(files)]
        annotations = [
            {"image_id": image["id"], "category_id": (0, 1, 4, 9)[label], "iscrowd": 0,
             "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}
            for image in images for box, label in BOXES[image["file_name"]]
        ]  # fmt: skip
        annotations = [{**item, "id": number, "area": 1.0} for number, item in enumerate(annotations)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        folder, file = write_coco(content, name=part)
        entries[part] = {"FORMAT": "coco", "IMAGES": str(folder), "ANNOTATIONS": str(file)}
    return entries


@pytest.mark.parametrize(("first", "second"), list(itertools.product(FORMATS, repeat=2)))
def test_each_pair_of_formats_keeps_every_box(
    first: str, second: str, source: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    original = read(source)
    expected = plain_content(original)
    assert sum(map(len, expected["train"].values())) == 3
    once = read(write_dataset(tmp_path / "first", original, first).entries)
    twice = read(write_dataset(tmp_path / "second", once, second, link=True).entries)
    back = read(write_dataset(tmp_path / "third", twice, first).entries)
    for content in (once, twice, back):
        assert content.class_names == ("zebra", "ant", "it's a <b>, ok")
        assert plain_content(content) == expected
    for record in back.records:
        assert record.path.read_bytes() == Path(original.records[0].path.parent, record.name).read_bytes()


sides = st.floats(0, 1, width=32)


@settings(max_examples=40, deadline=None)
@given(corners=st.lists(st.tuples(sides, sides), min_size=2, max_size=2), format_name=st.sampled_from(FORMATS))
def test_any_box_reads_back_the_same(
    corners: list[tuple[float, float]], format_name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    low, high = np.sort(np.array(corners, np.float32), axis=0) * np.array([40, 30], np.float32)
    if (high - low).min() <= 1e-3:  # empty after rounding: left out when it is read
        return
    content = one_image(folder, np.concatenate([low, high])[None])
    entries = write_dataset(folder / "set", content, format_name).entries
    np.testing.assert_array_equal(read(entries).records[0].boxes, content.records[0].boxes)


def one_image(folder: Path, boxes: np.ndarray, **changes: Any) -> Content:
    """An image of 40 x 30 pixels with objects of one class."""
    write_image(np.full((30, 40, 3), 90, np.uint8), folder / "a.png")
    labels = np.ones(len(boxes), np.int64)
    fields = {"is_difficult": np.zeros(len(boxes), bool), **changes}
    record = Record("a.png", folder / "a.png", 40, 30, boxes, labels, **fields)
    return Content(("cat",), [record], {"all": [0]})


def test_what_a_format_cannot_hold_is_said_and_counted(tmp_path: Path) -> None:
    boxes = np.array([[1, 2, 3, 4], [5, 6, 7, 8.5]], np.float32)
    content = one_image(tmp_path, boxes, is_difficult=np.array([True, False]), num_crowds=2)
    notes = {name: "\n".join(write_dataset(tmp_path / name, content, name).notes) for name in FORMATS}
    for name in ("coco", "yolo", "csv"):
        assert "1 objects are marked difficult" in notes[name]
    assert "difficult" not in notes["voc"]
    assert "1 boxes have fractions" in notes["voc"]
    for name in FORMATS:
        assert "2 regions of crowds" in notes[name]
    back = read({"all": {"FORMAT": "voc", "ROOT": str(tmp_path / "voc"), "SPLIT": "all"}})
    assert back.records[0].is_difficult.tolist() == [True, False]


def test_coco_keeps_what_its_entries_hold(write_coco: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    crowd = {"id": 7, "image_id": 3, "category_id": 2, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 1,
             "segmentation": {"size": [30, 40], "counts": [0, 1200]}}  # fmt: skip
    outline = {"id": 8, "image_id": 3, "category_id": 2, "bbox": [1, 1, 4, 4], "area": 8, "iscrowd": 0,
               "segmentation": [[1, 1, 5, 1, 5, 5]], "note": "kept"}  # fmt: skip
    image = {"id": 3, "file_name": "a.png", "width": 40, "height": 30, "license": 4}
    categories = [{"id": 2, "name": "cat", "supercategory": "animal"}]
    content = {"images": [image], "annotations": [crowd, outline], "categories": categories}
    folder, file = write_coco(content)
    entry = {"FORMAT": "coco", "IMAGES": str(folder), "ANNOTATIONS": str(file)}
    written = write_dataset(tmp_path / "new", read({"all": entry}), "coco")
    assert written.notes == []
    assert json.loads(Path(written.entries["all"]["ANNOTATIONS"]).read_text()) == content
    notes = "\n".join(write_dataset(tmp_path / "csv", read({"all": entry}), "csv").notes)
    assert "1 regions of crowds" in notes
    assert "1 outlines" in notes


def test_all_or_nothing(tmp_path: Path) -> None:
    content = one_image(tmp_path, np.array([[1, 2, 3, 4]], np.float32))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
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


@pytest.mark.parametrize("link", [False, True])
def test_yolo_gets_stored_pixels_where_exif_would_turn_them(
    link: bool, write_coco: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    """COCO's boxes are of 40 x 30 stored pixels here; YOLO's readers would turn the image to 30 x 40."""
    folder, file = write_coco(one_box("a.jpg"))
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(folder / "a.jpg", exif=exif)
    stored = (folder / "a.jpg").read_bytes()
    original = read({"all": {"FORMAT": "coco", "IMAGES": str(folder), "ANNOTATIONS": str(file)}})
    written = write_dataset(tmp_path / "new", original, "yolo", link=link)
    assert written.notes == ["1 images are annotated as they are stored and turned by EXIF; here they are PNG without."]
    assert [path.name for path in (tmp_path / "new/images").iterdir()] == ["a.png"]
    expected = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new/images/a.png")), expected)
    assert (folder / "a.jpg").read_bytes() == stored
    assert plain_content(read(written.entries)) == plain_content(original)


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
    written = write_dataset(tmp_path / "new", read({"all": entry}), "voc")
    names = sorted(path.name for path in (tmp_path / "new/JPEGImages").iterdir())
    assert names == ["a.png", "b.png", "images_A.png", "images_a_2.jpg", "odd_name.png"]
    assert sorted(path.stem for path in (tmp_path / "new/Annotations").iterdir()) == [name[:-4] for name in names]
    (note,) = [note for note in written.notes if "renamed" in note]
    assert note.endswith(" for plain names that differ before their suffix: 'A.png' is 'images_A.png', ...")
    assert note.startswith("3 images are renamed,")
    assert len(read(written.entries).records) == 5


def one_box(file: str, **category: Any) -> dict[str, Any]:
    """The content of a COCO file: a box in an image of 40 x 30 pixels."""
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0}
    image = {"id": 1, "file_name": file, "width": 40, "height": 30}
    return {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "cat", **category}]}


@pytest.mark.parametrize("name", [" cat", "cat\n", "c\0t"])
def test_names_of_classes_that_cannot_be_written(name: str, write_coco: Callable[..., tuple[Path, Path]]) -> None:
    folder, file = write_coco(one_box("a.png", name=name))
    with pytest.raises(DatasetError, match=r"the class name .* has spaces around it, or .*; rename the class"):
        read({"all": {"FORMAT": "coco", "IMAGES": str(folder), "ANNOTATIONS": str(file)}})


def test_a_missing_image_ends_it(write_coco: Callable[..., tuple[Path, Path]]) -> None:
    folder, file = write_coco(one_box("a.png"))
    (folder / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"a\.png: the image does not exist") as caught:
        read({"all": {"FORMAT": "coco", "IMAGES": str(folder), "ANNOTATIONS": str(file)}})
    assert caught.value.path == str(folder / "a.png")


def test_a_format_that_tells_no_files() -> None:
    class Elsewhere:
        class_names = ("__background__", "cat")

    with pytest.raises(ConfigError, match="dataset 'all': its format does not tell the files of its images"):
        collect_content({"all": Elsewhere()})  # type: ignore[dict-item]


def test_categories_in_another_order_are_numbered_anew(
    write_coco: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    content = one_box("a.png", id=4)
    content["annotations"][0]["category_id"] = 4
    content["categories"].append({"id": 2, "name": "dog", "supercategory": "animal"})
    folder, file = write_coco(content)
    entry = {"FORMAT": "coco", "IMAGES": str(folder), "ANNOTATIONS": str(file), "CLASSES": ["cat", "dog"]}
    written = write_dataset(tmp_path / "new", read({"all": entry}), "coco")
    found = json.loads(Path(written.entries["all"]["ANNOTATIONS"]).read_text())
    assert found["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert [annotation["category_id"] for annotation in found["annotations"]] == [1]


def test_parts_that_annotate_an_image_differently(write_coco: Callable[..., tuple[Path, Path]]) -> None:
    entries = {}
    for part, width in (("one", 5), ("two", 6)):
        annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, width, 5], "area": 25, "iscrowd": 0}
        image = {"id": 1, "file_name": "a.png", "width": 40, "height": 30}
        categories = [{"id": 1, "name": "cat"}]
        content = {"images": [image], "annotations": [annotation], "categories": categories}
        folder, file = write_coco(content, name=part)
        entries[part] = {"FORMAT": "coco", "IMAGES": str(folder), "ANNOTATIONS": str(file)}
    with pytest.raises(DatasetError, match="annotate this image differently"):
        read(entries)


@settings(max_examples=200, deadline=None)
@given(start=st.floats(0, 1e5, width=32), extent=st.floats(0, 1e5, width=32))
def test_numbers_are_short_and_exact(start: float, extent: float) -> None:
    low, high = np.float32(start), np.float32(start) + np.float32(extent)
    assert np.float32(plain(shortest(low))) == low
    first, length = start_and_extent(low, high)
    assert (np.float32(first), np.float32(first + length)) == (low, high)
