"""Annotation files with any content: sound ones are read as they are, others are refused with our error."""

import json
from xml.sax.saxutils import escape

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssd.data.datasets import COCODataset
from ssd.data.datasets.voc import read_voc_xml
from ssd.tools.data.check import CollectErrors
from ssd.utils.errors import DatasetError

relaxed = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

COORDINATES = st.floats(-1e9, 1e9)
# What XML 1.0 can hold, without the line ends that a parser is to change.
XML_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"))
NAMES = XML_TEXT.map(str.strip).filter(lambda name: name not in ("", "__background__"))
OBJECTS = st.lists(st.tuples(NAMES, st.tuples(*[COORDINATES] * 4), st.booleans()), max_size=4)
TAGS = [
    *("annotation", "object", "name", "bndbox", "size", "width", "height"),
    *("xmin", "ymin", "xmax", "ymax", "difficult"),
]


@relaxed
@given(objects=OBJECTS, size=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)))
def test_a_sound_voc_file_is_read_as_written(tmp_path, objects, size) -> None:
    xml = f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>"
    for name, box, is_difficult in objects:
        corners = "".join(f"<{tag}>{v!r}</{tag}>" for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        flag = f"<difficult>{int(is_difficult)}</difficult>"
        xml += f"<object><name>{escape(name)}</name>{flag}<bndbox>{corners}</bndbox></object>"
    path = tmp_path / "a.xml"
    path.write_text(f"{xml}</annotation>", encoding="utf-8")
    annotation = read_voc_xml(path)
    assert annotation.names == tuple(name for name, _, _ in objects)
    assert annotation.boxes.tolist() == [list(box) for _, box, _ in objects]
    assert annotation.is_difficult.tolist() == [is_difficult for _, _, is_difficult in objects]
    assert (annotation.width, annotation.height) == size


def elements(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    children = st.lists(inner, max_size=4).map("".join)
    return st.builds(lambda tag, content: f"<{tag}>{content}</{tag}>", st.sampled_from(TAGS), children)


@relaxed
@given(content=st.recursive(st.sampled_from(["1", "-7", "cat", "1e999", "nan", "", "&amp;"]), elements, max_leaves=20))
def test_any_elements_in_a_voc_file(tmp_path, content) -> None:
    path = tmp_path / "a.xml"
    path.write_text(f"<annotation>{content}</annotation>")
    annotation = read_voc_xml(path)
    assert len(annotation.names) == len(annotation.boxes) == len(annotation.is_difficult) == len(annotation.fields)
    assert np.isfinite(annotation.boxes).all()
    for error in annotation.mistakes:
        assert error.path == str(path)
        assert error.field
        assert error.field in str(error)


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8,
)
IDS = st.one_of(st.sampled_from([1, 2, 1.0]), JSON_VALUES)
IMAGES = st.fixed_dictionaries(
    {"id": IDS, "file_name": st.sampled_from(["a.png", "b/c.png"]) | JSON_VALUES},
    optional={"width": JSON_VALUES | st.just(40), "height": JSON_VALUES | st.just(30)},
)
ANNOTATIONS = st.fixed_dictionaries(
    {"image_id": IDS, "category_id": IDS, "bbox": st.lists(st.integers(-9, 50), min_size=4, max_size=4) | JSON_VALUES},
    optional={"id": IDS, "area": JSON_VALUES, "iscrowd": st.sampled_from([0, 1]) | JSON_VALUES},
)
CATEGORIES = st.fixed_dictionaries({"id": IDS, "name": st.sampled_from(["cat", "dog"]) | JSON_VALUES})
CONTENTS = st.fixed_dictionaries(
    {
        "images": st.lists(IMAGES | JSON_VALUES, max_size=3),
        "annotations": st.lists(ANNOTATIONS | JSON_VALUES, max_size=3),
        "categories": st.lists(CATEGORIES | JSON_VALUES, max_size=3),
    }
)


@relaxed
@given(content=CONTENTS)
def test_any_entries_in_a_coco_file(tmp_path, content) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    policy = CollectErrors()
    try:
        dataset = COCODataset(tmp_path, path, policy=policy)
    except DatasetError as error:
        assert str(path) in str(error)  # noqa: PT017  # success is possible
    else:
        assert len(dataset) <= dataset.num_listed == len(content["images"])
        for row in range(len(dataset)):
            _, (boxes, labels) = dataset.get_annotation(row)
            size = dataset.get_img_info(row)
            assert ((boxes >= 0) & (boxes <= [size["width"], size["height"]] * 2)).all()
            assert (boxes[:, 2:] > boxes[:, :2]).all()
            assert ((labels >= 1) & (labels < len(dataset.class_names))).all()
        assert len(dataset.coco.anns) == len(dataset.coco.dataset["annotations"])  # every id once
    assert all(error.path and error.field in str(error) for error in policy.errors)
