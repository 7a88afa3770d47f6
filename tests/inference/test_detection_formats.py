"""Each format, read by its own reader: COCO's API, our VOC dataset, json, supervision."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from pycocotools.coco import COCO

from ssd.data.datasets import VOCDataset
from ssd.inference.detection_formats import to_yolo
from ssd.inference.detections import Detections
from ssd.inference.sources import VideoInfo
from ssd.utils.image import write_image
from tests.inference.samples import make_detections

CLASS_NAMES = ("__background__", "cat", "dog & <co>", "pers\u00f6n")
WIDTH, HEIGHT = 80, 60
BOXES = np.array([[1, 2, 30, 40], [5.5, 6.25, 60.125, 50.0625], [0, 0, 80, 60], [10.1, 10.2, 12.3, 12.4]], np.float32)


def make(**changes: object) -> Detections:
    objects = zip(BOXES, (2, 1, 2, 3), (0.9, 0.8, 0.5, 0.25), strict=True)
    return make_detections(objects, **{"class_names": CLASS_NAMES, "orig_size": (WIDTH, HEIGHT), **changes})


NOTHING = make()[:0]


def test_coco_results() -> None:
    first, second, *_ = make().to_coco(7)
    assert first == {"image_id": 7, "category_id": 2, "bbox": [1.0, 2.0, 29.0, 38.0], "score": float(np.float32(0.9))}
    assert second["bbox"] == [5.5, 6.25, 54.625, 43.8125]
    ids = make().to_coco(7, category_ids={1: 17, 2: 18, 3: 90})
    assert [entry["category_id"] for entry in ids] == [18, 17, 18, 90]
    assert NOTHING.to_coco(7, category_ids={}) == []
    ground_truth = COCO()
    ground_truth.dataset = {"images": [{"id": 7}], "categories": [{"id": number} for number in (1, 2, 3)], "info": {}}
    ground_truth.createIndex()
    loaded = ground_truth.loadRes(json.loads(json.dumps(make().to_coco(7))))
    assert [entry["area"] for entry in loaded.loadAnns([1, 2])] == [29 * 38, 54.625 * 43.8125]


def test_a_voc_annotation_is_read_as_the_same_boxes(write_voc: Callable[..., Path]) -> None:
    """Boxes are clipped to the image."""
    outside = make(boxes=np.array([[-5, -6, 90, 70]]), labels=np.array([1]), scores=np.array([0.5]))
    images = {"all": make(), "clipped": outside, "none": NOTHING}
    root = write_voc({name: detections.to_voc_xml() for name, detections in images.items()})
    for name in images:
        write_image(np.zeros((HEIGHT, WIDTH, 3), np.uint8), root / f"JPEGImages/{name}.png")
    dataset = VOCDataset(root, "train", class_names=CLASS_NAMES)
    (boxes, labels), (clipped, _), (none, _) = (dataset.get_annotation(row)[1][:2] for row in range(3))
    np.testing.assert_allclose(boxes, BOXES, atol=5e-4)
    assert labels.tolist() == [2, 1, 2, 3]
    assert dataset.get_img_info(0) == {"height": HEIGHT, "width": WIDTH}
    np.testing.assert_allclose(clipped, [[0, 0, WIDTH, HEIGHT]])
    assert none.shape == (0, 4)


def test_the_tags_of_a_voc_annotation() -> None:
    root = ElementTree.fromstring(make(path=Path("photos/a 1.jpg")).to_voc_xml())
    assert [root.findtext(tag) for tag in ("folder", "filename", "segmented")] == ["photos", "a 1.jpg", "0"]
    assert [child.text for child in root.find("size")] == ["80", "60", "3"]
    first = {child.tag: child.text for child in root.find("object")}
    assert list(first) == ["name", "pose", "truncated", "difficult", "score", "bndbox"]
    assert list(first.values())[:-1] == ["dog & <co>", "Unspecified", "0", "0", "0.9"]
    box = {child.tag: float(child.text) for child in root.find("object/bndbox")}
    assert box == {"xmin": 2, "ymin": 3, "xmax": 31, "ymax": 41}


def test_yolo_lines_are_clipped_to_the_image() -> None:
    boxes = np.array([[-32, -10, 32, 48], [70, 0, 90, 48], [0, 40, 64, 96]], np.float32)
    scores = np.array([0.5, 0.25, 0.125], np.float32)
    detections = make(boxes=boxes, labels=np.array([3, 1, 1]), scores=scores, orig_size=(64, 48))
    assert to_yolo(detections) == (
        "2 0.250000 0.500000 0.500000 1.000000 0.500000\n0 0.500000 0.916667 1.000000 0.166667 0.125000\n"
    )
    assert to_yolo(NOTHING) == ""


def test_json() -> None:
    video = VideoInfo("größe.mp4", 29.97, None, (WIDTH, HEIGHT))
    text = make(name="größe.mp4, frame 7", index=7, video=video, time=7 / 30).to_json()
    assert "\n" not in text
    assert "größe" in text
    content = json.loads(text)
    objects = content.pop("objects")
    assert content == {
        "name": "größe.mp4, frame 7",
        "path": None,
        "index": 7,
        "time": 0.233333,
        "width": WIDTH,
        "height": HEIGHT,
        "video": {"name": "größe.mp4", "frame_rate": 29.97, "num_frames": None, "width": WIDTH, "height": HEIGHT},
    }
    assert objects[0] == {"name": "dog & <co>", "label": 2, "score": 0.9, "box": [1, 2, 30, 40]}
    assert objects[3] == {"name": "pers\u00f6n", "label": 3, "score": 0.25, "box": [10.1, 10.2, 12.3, 12.4]}
    content = json.loads(NOTHING[:].to_json())
    assert (content["objects"], content["video"], content["index"], content["time"]) == ([], None, 0, None)
    assert json.loads(make(time=0.0).to_json())["time"] == 0
    assert json.loads(make(path=Path("a/b.jpg")).to_json())["path"] == str(Path("a/b.jpg"))


def test_json_keeps_every_bit() -> None:
    rng = np.random.default_rng(0)
    boxes, scores = rng.uniform(-10, 5000, (100, 4)).astype(np.float32), rng.uniform(0, 1, 100).astype(np.float32)
    objects = json.loads(make(boxes=boxes, labels=np.ones(100, int), scores=scores).to_json())["objects"]
    np.testing.assert_array_equal(np.array([item["box"] for item in objects], np.float32), boxes)
    np.testing.assert_array_equal(np.array([item["score"] for item in objects], np.float32), scores)


def test_supervision() -> None:
    supervision = pytest.importorskip("supervision")
    detections = make()
    converted = detections.to_supervision()
    assert isinstance(converted, supervision.Detections)
    np.testing.assert_array_equal(converted.xyxy, BOXES)
    np.testing.assert_array_equal(converted.confidence, detections.scores)
    assert converted.class_id.tolist() == [2, 1, 2, 3]
    assert converted["class_name"].tolist() == detections.names
    assert len(NOTHING.to_supervision()) == 0
    converted.xyxy[:] = 0
    np.testing.assert_array_equal(detections.boxes, BOXES)
