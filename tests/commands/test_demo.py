"""demo.py as a user calls it, and its messages about mistakes."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import pytest
import torch

import ssd
from ssd.inference.detections import Detections
from ssd.inference.predictor import Predictor
from ssd.inference.video_writer import VideoWriter
from ssd.utils.image import read_image

GOOD = ["a b.jpg", "b.JPG", "d#1%20.jpg", "e[1].jpeg", "ä日.jpg"]

Script = Callable[..., tuple[int, str, str]]


@pytest.fixture
def demo(script: Script, pictures: Path) -> Script:
    """Run demo.py beside the pictures with a checkpoint that needs no config."""
    return lambda *args: script("demo.py", "--ckpt", "model.pth", "MODEL.DEVICE", "cpu", *args)


@pytest.fixture
def film(pictures: Path) -> Path:
    """Five frames at 12.5 a second."""
    with VideoWriter(Path("film.mp4"), 12.5) as writer:
        for name in GOOD:
            writer.write(read_image(pictures / name))
    return Path("film.mp4")


def entries(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["images"]


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder_with_failures(demo: Script, pictures: Path) -> None:
    """Three images cannot be read and one cannot be written."""
    shutil.copy(pictures / "b.JPG", pictures / "c.png")
    (pictures / "empty.png").touch()
    (pictures / "half.jpg").write_bytes((pictures / "b.JPG").read_bytes()[:2000])
    Path("drawn/c.png").mkdir(parents=True)
    args = ("--output_dir", "drawn", "--save_json", "a.json", "--save_txt", "txt")
    status, printed, _ = demo("--images_dir", pictures, *args)
    assert (status, f"/0009) {pictures / 'a b.jpg'}: " in printed) == (1, True)
    assert f"/0009) failed: {pictures / 'bad.png'}: " in printed
    assert "Written: drawn" in printed
    failures = [line.strip() for line in printed.partition("4 image(s) failed:\n")[2].splitlines()]
    bad = [f"{pictures}/{name}" for name in ("bad.png", "empty.png", "half.jpg")]
    assert [line.partition(": ")[0] for line in failures] == [*bad, "drawn/c.png"]
    content = json.loads(Path("a.json").read_text())
    assert (content["failures"], content["complete"]) == (failures, True)
    assert names_in(Path("drawn")) == GOOD
    assert all(read_image(f"drawn/{name}").shape == read_image(pictures / name).shape for name in GOOD)


def test_files_hold_what_the_api_finds(demo: Script, pictures: Path, film: Path) -> None:
    (pictures / "bad.png").unlink()
    sources = [pictures, film, f"{pictures}/[ab]*"]
    options = ("--score_threshold", 0.6, "--batch_size", 4, "--save_json", "a.json", "--save_txt", "txt")
    status, printed, _ = demo(*(word for source in sources for word in ("--source", source)), *options)
    assert (status, f" {film}, frame 4: " in printed) == (0, True)
    detector = ssd.init_detector("model.pth", device="cpu")
    expected = detector.predict(sources, batch_size=4, score_threshold=0.6)
    assert len(expected) == 12
    count = sum(map(len, expected))
    assert count > 0
    assert ["all", str(count)] in [line.split()[:2] for line in printed.splitlines()]
    assert entries(Path("a.json")) == [json.loads(result.to_json()) for result in expected]
    assert json.loads(Path("a.json").read_text())["class_names"] == list(detector.class_names)
    times = [entry["time"] for entry in entries(Path("a.json")) if entry["video"]]
    assert times == pytest.approx([0, 0.08, 0.16, 0.24, 0.32])
    frames = [f"film/00000{number}.txt" for number in range(5)]
    assert names_in(Path("txt")) == sorted(["classes.txt", *frames, *(f"{Path(name).stem}.txt" for name in GOOD)])
    assert len(Path("txt/a b.txt").read_text().splitlines()) == len(expected[0])
    assert names_in(Path("demo/result")) == sorted([*GOOD, "film.mp4"])
    video = cv2.VideoCapture("demo/result/film.mp4")
    assert (video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)) == (12.5, 5)
    assert (video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (320, 240)


@pytest.mark.parametrize(("args", "tile"), [(["--tile", 96], 96), (["--tile"], True)])
def test_tiles(demo: Script, pictures: Path, args: list[object], tile: int | bool) -> None:
    path = pictures / "b.JPG"
    assert demo("--source", path, "--no-draw", *args, "--save-json", "a.json", "--score-threshold", 0.5)[0] == 0
    detector = ssd.init_detector("model.pth", device="cpu")
    (found,) = detector.predict(path, tile=tile, score_threshold=0.5)
    assert entries(Path("a.json")) == [json.loads(found.to_json())]
    assert len(found) != len(detector.predict(path, score_threshold=0.5)[0])
    assert not Path("demo").exists()


def test_ctrl_c_completes_the_files(demo: Script, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detect = Predictor.predict

    def detect_and_interrupt(self: Predictor, *args: Any, **kwargs: Any) -> Iterator[Detections]:
        for found in detect(self, *args, **kwargs):
            if found.index == 1:
                os.kill(os.getpid(), signal.SIGINT)
            yield found

    monkeypatch.setattr(Predictor, "predict", detect_and_interrupt)
    status, printed, _ = demo("--source", film, "--output_dir", "out", "--save_json", "a.json", "--batch_size", 1)
    assert (status, "Stopped by Ctrl-C" in printed) == (130, True)
    content = json.loads(Path("a.json").read_text())
    assert not content["complete"]
    assert 2 <= len(content["images"]) < 5
    assert cv2.VideoCapture("out/film.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == len(content["images"])
    assert names_in(Path("out")) == ["film.mp4"]


def test_the_last_checkpoint_of_a_run(script: Script, trained: Path, pictures: Path) -> None:
    checkpoint = trained.parent / "out" / "model_final.pth"
    options = ("--source", pictures / "b.JPG", "--score_threshold", 0.1, "--no_draw", "--save_json")
    status, printed, _ = script("demo.py", "--config-file", trained, *options, "last.json")
    assert (status, f"Loaded weights from {checkpoint}" in printed) == (0, True)
    assert script("demo.py", "--config-file", trained, "--ckpt", checkpoint, *options, "named.json")[0] == 0
    assert Path("last.json").read_bytes() == Path("named.json").read_bytes()


def test_classes_of_a_checkpoint_without_class_names(script: Script, pictures: Path) -> None:
    state = torch.load("model.pth", weights_only=True)
    torch.save({"model": state["model"], "config": state["config"]}, "three.pth")
    run = ("demo.py", "--ckpt", "three.pth", "--source", pictures / "b.JPG", "--no_draw")
    for arguments, message in (((), "MODEL.WEIGHTS_CLASSES"), (("--dataset_type", "voc"), "20 names")):
        status, _, error = script(*run, *arguments)
        assert (status, message in error) == (1, True)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--images_dir", "gone"], "gone: "),
        (["--images_dir", "my pictures", "--output_dir", "my pictures"], "--output my pictures"),
        (["--images_dir", "my pictures", "--batch_size", "0"], "batch_size"),
        (["--images_dir", "my pictures", "--save_json", "gone/a.json"], "gone/a.json: "),
        (["--images_dir", "my pictures", "--output_dir", "empty.mp4/x"], "empty.mp4/x: "),
        (["--images_dir", "my pictures", "MODEL.DEVICE", "tpu"], "'tpu'"),
    ],
)
def test_mistakes_end_in_a_message(demo: Script, args: list[str], message: str) -> None:
    Path("empty.mp4").touch()
    before = names_in(Path())
    status, _, error = demo(*args)
    assert status == 1
    assert error.startswith("error: ")
    assert message in error
    assert names_in(Path()) == before


def test_a_name_that_is_no_unicode(demo: Script, pictures: Path) -> None:
    name = os.fsdecode(b"\xff.jpg")
    shutil.copy(pictures / "b.JPG", name)
    status, printed, _ = demo("--source", name, "--output_dir", "drawn", "--save_json", "a.json", "--save_txt", "txt")
    assert (status, "\\udcff.jpg: " in printed) == (0, True)
    assert Path("drawn", name).is_file()
    assert entries(Path("a.json"))[0]["path"] == name


def test_a_page_is_asked_for(demo: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    serve, before = Mock(), names_in(Path())
    monkeypatch.setattr("ssd.commands.predict.serve", serve)
    status, _, errors = demo("--web", "--host", "0.0.0.0", "--port", 8000, "--score_threshold", 0.25)
    assert (status, errors) == (0, "")
    (predictor, _), options = serve.call_args
    assert options == {"host": "0.0.0.0", "port": 8000, "score_threshold": 0.25}
    assert predictor.class_names == ("__background__", "cat", "dog", "snow leopard")
    assert names_in(Path()) == before
