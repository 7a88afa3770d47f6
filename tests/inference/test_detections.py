import base64
import contextlib
import io
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageShow

from ssd.inference.detections import Detections
from ssd.inference.sources import VideoInfo
from ssd.utils.errors import ConfigError, ImageError
from ssd.utils.image import read_image
from ssd.visualization import draw_detections
from tests.inference.samples import make_detections

CLASS_NAMES = ("__background__", "cat", "dog", "person")
WIDTH, HEIGHT = 80, 60
BOXES = [[1, 2, 30, 40], [5.5, 6.25, 60, 50], [-3, 0, 20, 64], [10, 10, 12, 12]]


def make(**changes: object) -> Detections:
    objects = zip(BOXES, (2, 1, 2, 3), (0.9, 0.8, 0.5, 0.25), strict=True)
    return make_detections(objects, **{"class_names": CLASS_NAMES, "orig_size": (WIDTH, HEIGHT), **changes})


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_length_names_and_words() -> None:
    names = ["dog", "cat", "dog", "person"]
    assert (len(make()), make().names) == (4, names)
    assert repr(make(name="a.jpg")) == "<Detections in a.jpg, 80 x 60: 2 dog, 1 cat, 1 person>"
    assert repr(make()[:0]) == "<Detections in image, 80 x 60: nothing>"
    assert make()[:0].names == list(make()[:0]) == []
    rows = [(one.name, one.box.tolist(), one.label) for one in make()]
    assert rows == [(name, box, make().class_names.index(name)) for name, box in zip(names, BOXES, strict=True)]
    assert [one.score for one in make()] == make().scores.tolist()
    assert make().counts == {"dog": 2, "cat": 1, "person": 1}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (0, [0]),
        (np.int64(-1), [3]),
        (slice(None, None, 2), [0, 2]),
        ([2, 0], [2, 0]),
        ([], []),
        ([True, False, False, True], [0, 3]),
        (np.array([0.9, 0.8, 0.5, 0.25]) > 0.5, [0, 1]),
        (np.zeros(4, bool), []),
    ],
)
def test_rows(rows: object, expected: list[int], pixels: np.ndarray) -> None:
    video = VideoInfo("a.mp4", 25.0, 100, (WIDTH, HEIGHT))
    whole = make(name="n", path=Path("a.jpg"), index=7, video=video, pixels=pixels)
    part = whole[rows]
    for name in ("boxes", "labels", "scores"):
        assert getattr(part, name).tolist() == getattr(whole, name)[expected].tolist()
    assert (part.boxes.dtype, part.labels.dtype, part.scores.dtype) == (np.float32, np.int64, np.float32)
    assert (part.name, part.path, part.index, part.video) == ("n", Path("a.jpg"), 7, video)
    assert part.class_names is whole.class_names
    assert part.pixels is pixels


@pytest.mark.parametrize("rows", [4, -5, [4], [True, False]])
def test_missing_rows(rows: object) -> None:
    with pytest.raises(IndexError):
        make()[rows]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"score_threshold": 0.5}, [0, 1]),  # above it
        ({"classes": "dog"}, [0, 2]),
        ({"classes": 1}, [1]),
        ({"classes": ["person", "dog"]}, [0, 2, 3]),
        ({"classes": ("person", np.int64(1))}, [1, 3]),
        ({"classes": []}, []),
        ({"classes": {1, 3}, "score_threshold": 0.3}, [1]),
    ],
)
def test_filter_keeps_the_order(arguments: dict, expected: list[int]) -> None:
    assert make().filter(**arguments).boxes.tolist() == [BOXES[row] for row in expected]
    assert len(make()[:0].filter(**arguments)) == 0


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("dgo", r"'dgo': .*'cat', 'dog', 'person'"),
        ("__background__", r"'__background__': .*1 to 3"),
        (0, r"class 0"),
        (4, r"class 4: .*1 to 3"),
    ],
)
def test_filter_names_the_nearest_class(item: str | int, message: str) -> None:
    for classes in (item, ["cat", item]):
        with pytest.raises(ConfigError, match=message):
            make().filter(classes=classes)


def test_the_image_is_the_pixels_else_the_file(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), pixels[..., ::-1])
    assert make(pixels=pixels, path=tmp_path / "nothing.png").image is pixels
    np.testing.assert_array_equal(make(path=path).image, pixels)
    with pytest.raises(ImageError, match=r"street\.mp4, frame 17: .*stream=True"):
        _ = make(name="street.mp4, frame 17").image
    with pytest.raises(ImageError, match=r"nothing\.png: No such file"):
        _ = make(path=tmp_path / "nothing.png").image


def test_draw_shows_what_scores_above_the_threshold(pixels: np.ndarray) -> None:
    detections, before = make(pixels=pixels), pixels.copy()
    for threshold, count in ((0.5, 2), (0.85, 1), (0.0, 4)):
        kept = detections[:count]
        expected = draw_detections(pixels, kept.boxes, kept.labels, kept.scores, CLASS_NAMES)
        np.testing.assert_array_equal(detections.draw(score_threshold=threshold), expected)
    np.testing.assert_array_equal(detections.draw(), detections.draw(score_threshold=0.0))
    np.testing.assert_array_equal(detections.draw(score_threshold=1), pixels)
    np.testing.assert_array_equal(make(pixels=pixels)[:0].draw(), pixels)
    np.testing.assert_array_equal(pixels, before)


def test_show_writes_a_file(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "new" / "folder" / "größe 1.png"
    detections = make(pixels=pixels)
    detections.show(out_file=path)
    np.testing.assert_array_equal(read_image(path), detections.draw())
    detections.show(str(path), score_threshold=0.5)
    np.testing.assert_array_equal(read_image(path), detections.draw(score_threshold=0.5))
    with pytest.raises(ImageError, match=r"1\.png: "):
        detections.show(path / "a.png")
    with pytest.raises(ImageError, match=r"'\.xyz'"):
        detections.show(tmp_path / "a.xyz")


@pytest.mark.parametrize("has_viewer", [True, False])
def test_show_without_a_file_opens_a_viewer(pixels, monkeypatch, has_viewer):
    monkeypatch.setenv("DISPLAY", ":0")
    shown: list[tuple[Image.Image, str]] = []
    monkeypatch.setattr(ImageShow, "show", lambda image, title: shown.append((image, title)) or has_viewer)
    detections = make(pixels=pixels, name="a.jpg")
    with contextlib.nullcontext() if has_viewer else pytest.raises(ImageError, match=r"save\("):
        detections.show()
    ((image, title),) = shown
    np.testing.assert_array_equal(np.asarray(image), detections.draw())
    assert title == "a.jpg"


def test_show_on_a_server_and_in_a_notebook(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """No window is opened on either."""
    monkeypatch.setattr(ImageShow, "show", None)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    detections, shown = make(pixels=pixels, name="a.jpg"), []
    with pytest.raises(ImageError, match=r"a\.jpg: .*save\("):
        detections.show()
    display = SimpleNamespace(display=shown.append)
    notebook = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1), display=display)
    monkeypatch.setitem(sys.modules, "IPython", notebook)  # type: ignore[arg-type]
    detections.show()
    np.testing.assert_array_equal(np.asarray(shown[0]), detections.draw())


def test_html_has_the_picture_and_a_table(pixels: np.ndarray) -> None:
    detections = make(pixels=pixels, name="<a>.jpg")
    html = detections._repr_html_()
    data = base64.b64decode(html.partition("base64,")[2].partition('"')[0])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), detections.draw())
    assert (html.count("<tr>"), "<a>" in html, "&lt;a&gt;.jpg" in html) == (5, False, True)
    assert "not kept" in make()._repr_html_()
    many = make_detections([([0, 0, 1, 1], 1, 0.5)] * 25, class_names=CLASS_NAMES)
    assert (many._repr_html_().count("<tr>"), "5 more" in many._repr_html_()) == (21, True)


def test_crops(pixels: np.ndarray) -> None:
    boxes = np.array([[10.4, 5.6, 30, 20], [-5, -5, 8, 900], [70, 50, 200, 200], [90, 0, 99, 9]], np.float32)
    crops = replace(make(pixels=pixels), boxes=boxes).crops
    assert [crop.shape for crop in crops] == [(14, 20, 3), (60, 8, 3), (10, 10, 3), (9, 0, 3)]
    np.testing.assert_array_equal(crops[0], pixels[6:20, 10:30])


def test_a_table_of_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))  # type: ignore[arg-type]
    table = make(name="a.jpg").to_pandas()
    assert list(table) == ["image", "class", "score", "x1", "y1", "x2", "y2"]
    np.testing.assert_array_equal(np.stack([table[side] for side in list(table)[3:]], axis=1), BOXES)
