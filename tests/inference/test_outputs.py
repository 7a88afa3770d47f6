import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssd.inference.detections import Detections
from ssd.inference.outputs import Outputs, refuse_source_folders
from ssd.inference.sources import VideoInfo
from ssd.utils.errors import ImageError, OutputError
from ssd.utils.image import read_image
from tests.inference.samples import NAMES, make_detections

GREY = np.full((48, 64, 3), 128, np.uint8)
CAT = ([8, 12, 40, 36], 1, 0.75)
DOG = ([16, 12, 32, 24], 2, 0.5)


def make_grey(objects: Iterable[tuple[list[float], int, float]] = (), *, path: str | Path) -> Detections:
    return make_detections(objects, name=str(path), path=Path(path), pixels=GREY)


def of_video(name: str, index: int = 0, frame_rate: float = 10.0, time: float | None = None) -> Detections:
    video = VideoInfo(name, frame_rate, None, (64, 48))
    return make_detections(name=f"{name}, frame {index}", video=video, index=index, time=time, pixels=GREY)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_all_files(tmp_path: Path) -> None:
    drawn, txt, json_file = (tmp_path / name for name in ("new/drawn", "new/txt", "all.json"))
    images = [
        make_grey([CAT, DOG], path="in/ä b.png"),
        make_grey(path="other/ä b.png"),
        make_grey([DOG], path="other/classes.png"),
        of_video("street.avi", 3),
    ]
    with Outputs(NAMES, drawn=drawn, txt=txt, json=json_file) as outputs:
        for detections in images:
            outputs.add(detections)
        outputs.failures.append("c.png: no image")
        outputs.is_complete = False
    assert files_in(drawn) == {"ä b.png", "other/ä b.png", "other/classes.png", "street.mp4"}
    np.testing.assert_array_equal(read_image(drawn / "ä b.png"), images[0].draw(0.0))
    # (8 + 40) / 2 / 64 = .375, (12 + 36) / 2 / 48 = .5, 32 / 64 = .5, 24 / 48 = .5
    cat = "0 0.375000 0.500000 0.500000 0.500000 0.750000\n"
    dog = "1 0.375000 0.375000 0.250000 0.250000 0.500000\n"
    assert {name: (txt / name).read_text() for name in files_in(txt)} == {
        "classes.txt": "cat\ndog\nsnow leopard\n",
        "ä b.txt": cat + dog,
        "other/ä b.txt": "",
        "other/classes.png.txt": dog,
        "street/000003.txt": "",
    }
    text = json_file.read_text(encoding="utf-8")
    assert json.loads(text) == {
        "class_names": list(NAMES),
        "images": [json.loads(detections.to_json()) for detections in images],
        "failures": ["c.png: no image"],
        "complete": False,
    }
    assert sum('"index"' in line for line in text.splitlines()) == len(images)


def test_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Outputs(NAMES) as outputs:
        outputs.add(make_grey(path="a.jpg"))
    assert not list(tmp_path.iterdir())
    with Outputs(NAMES, json=tmp_path / "a.json"):
        pass
    content = json.loads((tmp_path / "a.json").read_text())
    assert (content["images"], content["failures"], content["complete"]) == ([], [], True)


def test_two_videos_and_an_image(tmp_path: Path) -> None:
    with Outputs(NAMES, drawn=tmp_path) as outputs:
        for index in range(5):
            outputs.add(of_video("a/street.avi", index, time=index**2 / 10))
        for index in range(3):
            outputs.add(of_video("b/street.avi", index, frame_rate=30000 / 1001))
        outputs.add(make_grey(path="a/street.png"))
    assert files_in(tmp_path) == {"street.mp4", "street_2.mp4", "street.png"}
    first, second = (cv2.VideoCapture(str(tmp_path / name)) for name in ("street.mp4", "street_2.mp4"))
    assert [video.get(cv2.CAP_PROP_FRAME_COUNT) for video in (first, second)] == [5, 3]
    times = [first.read()[0] and first.get(cv2.CAP_PROP_POS_MSEC) for _ in range(5)]
    assert times == pytest.approx([0, 100, 400, 900, 1600], abs=0.01)
    assert second.get(cv2.CAP_PROP_FPS) == pytest.approx(29.97, rel=1e-4)


def test_sources_are_not_replaced(tmp_path: Path) -> None:
    image, video = tmp_path / "a.png", tmp_path / "b.mp4"
    image.write_bytes(b"source")
    video.write_bytes(b"source")
    with Outputs(NAMES, drawn=tmp_path) as outputs:
        with pytest.raises(ImageError, match=r"a\.png"):
            outputs.add(make_grey(path=image))
        with pytest.raises(OutputError, match=r"b\.mp4"):
            outputs.add(of_video(str(video)))
    assert image.read_bytes() == video.read_bytes() == b"source"


def test_one_file_that_cannot_be_written(tmp_path: Path) -> None:
    for name in ("a.png", "a.txt"):
        (tmp_path / name).mkdir()
    (tmp_path / "other").touch()
    for outputs in (Outputs(NAMES, drawn=tmp_path), Outputs(NAMES, txt=tmp_path)):
        with outputs:
            for path in ("in/a.png", "in/other/b.png"):
                with pytest.raises(ImageError, match="cannot be written"):
                    outputs.add(make_grey(path=path))
            outputs.add(make_grey(path="in/c.png"))
    assert {"c.png", "c.txt"} < files_in(tmp_path)


@pytest.mark.parametrize("kind", ["drawn", "txt", "json"])
def test_places_that_cannot_be_written(tmp_path: Path, kind: str) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match=r"out/x: cannot be written"), Outputs(NAMES, **{kind: tmp_path / "out/x"}):
        raise AssertionError


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError])
def test_an_error_completes_the_video_and_keeps_the_old_json(tmp_path: Path, kind: type[BaseException]) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(kind), Outputs(NAMES, drawn=tmp_path, json=path) as outputs:  # noqa: PT012
        outputs.add(of_video("camera 0"))
        raise kind
    assert path.read_text() == "old"
    assert files_in(tmp_path) == {"a.json", "camera 0.mp4"}
    assert cv2.VideoCapture(str(tmp_path / "camera 0.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 1


def test_an_error_at_the_end_of_the_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(OutputError, match=r"a\.json: cannot be written"), Outputs(NAMES, json=path):
        path.mkdir()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("source", ["in", "in/", "in/a.jpg", "in/*.jpg", "*/a.jpg", "**/*", "./out/../in"])
def test_folders_of_sources_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("out").mkdir()
    Path("in/a.jpg").touch()
    others = [source, "0", "rtsp://host/a"]
    refuse_source_folders({"--output_dir": Path("out"), "--save_txt": None}, others)
    refuse_source_folders({"--output_dir": Path()}, others[1:])
    with pytest.raises(OutputError, match=r"^--save_txt .*in "):
        refuse_source_folders({"--output_dir": Path("new"), "--save_txt": tmp_path / "in"}, ["out", source])
