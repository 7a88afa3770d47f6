"""demo.py as a user calls it, and what it says to mistakes."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import ssd
from ssd.data.datasets import VOC_CLASSES
from ssd.inference.video_writer import VideoWriter
from ssd.utils.image import read_image
from tests.interrupted import interrupt

ROOT = Path(__file__).parents[2]
NUM_PICTURES = 6

Script = Callable[..., tuple[int, str, str]]
Demo = Callable[..., tuple[int, str, str]]


@pytest.fixture
def demo(script: Script, detector_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Demo:
    """Run demo.py in tmp_path with a checkpoint that needs no config."""
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> tuple[int, str, str]:
        return script("demo.py", "--ckpt", detector_file, "MODEL.DEVICE", "cpu", *args)

    return run


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six images, called a to f, with names that are not easy."""
    folder = tmp_path / "my pictures"
    folder.mkdir()
    for source, name in zip(
        sorted((ROOT / "demo").glob("*.jpg")), ("a.jpg", "b b.jpg", "c.JPG", "dä.jpg", "e.jpeg", "f'.jpg"), strict=True
    ):
        shutil.copy(source, folder / name)
    return folder


@pytest.fixture
def film(pictures: Path) -> Path:
    """Six frames at 12.5 a second."""
    path = pictures.parent / "film.mp4"
    with VideoWriter(path, 12.5) as writer:
        for picture in sorted(pictures.iterdir()):
            writer.write(read_image(picture))
    return path


def entries(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["images"]


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder(demo: Demo, pictures: Path, tmp_path: Path) -> None:
    (pictures / "g.png").write_text("not an image")
    status, printed, _ = demo("--images_dir", pictures, "--output_dir", "drawn", "--save_json", "a.json")
    assert status == 1
    assert all(f"/0007) {pictures / name}: " in printed for name in ("a.jpg", "b b.jpg"))
    assert f"/0007) failed: {pictures / 'g.png'}: " in printed
    assert "Written: drawn" in printed
    assert f"1 image(s) failed:\n  {pictures / 'g.png'}: " in printed
    assert names_in(tmp_path / "drawn") == ["a.jpg", "b b.jpg", "c.JPG", "dä.jpg", "e.jpeg", "f'.jpg"]
    for name in names_in(tmp_path / "drawn"):
        before, after = read_image(pictures / name), read_image(tmp_path / "drawn" / name)
        assert before.shape == after.shape
    found = [len(entry["objects"]) for entry in entries(Path("a.json"))]
    assert len(found) == NUM_PICTURES
    assert f"all  {sum(found)}".split() in [line.split()[:2] for line in printed.splitlines()]


def test_files_hold_what_the_api_finds(demo: Demo, pictures: Path, film: Path, detector_file: Path) -> None:
    sources = ("--source", pictures, "--source", film, "--source", f"{pictures}/[ab]*")
    options = ("--score_threshold", 0.6, "--batch_size", 4, "--save_json", "a.json", "--save_txt", "txt", "--no_draw")
    status, _, _ = demo(*sources, *options)
    assert status == 0
    detector = ssd.init_detector(detector_file, device="cpu")
    expected = [result.filter(0.6) for result in detector.predict([pictures, film, f"{pictures}/[ab]*"], batch_size=4)]
    assert len(expected) == 2 * NUM_PICTURES + 2
    assert sum(map(len, expected)) > 0
    assert entries(Path("a.json")) == [json.loads(result.to_json()) for result in expected]
    assert json.loads(Path("a.json").read_text())["class_names"] == list(detector.class_names)
    stems = [*"ac", "b b", "dä", "e", "f'"]
    frames = [f"film/00000{number}.txt" for number in range(NUM_PICTURES)]
    assert names_in(Path("txt")) == sorted(["classes.txt", *frames, *(f"{stem}.txt" for stem in stems)])
    assert len(Path("txt/a.txt").read_text().splitlines()) == len(expected[0])
    assert not Path("demo").exists()


def test_a_video(demo: Demo, film: Path) -> None:
    status, printed, _ = demo("--source", film, "--output_dir", "drawn")
    assert status == 0
    assert f"(0006/0006) {film}, frame 5: " in printed
    assert names_in(Path("drawn")) == ["film.mp4"]
    video = cv2.VideoCapture("drawn/film.mp4")
    assert video.get(cv2.CAP_PROP_FPS) == 12.5
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == NUM_PICTURES
    assert (video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (320, 240)


def test_the_threshold_holds_for_everything(demo: Demo, pictures: Path) -> None:
    status, printed, _ = demo("--images_dir", pictures, "--score_threshold", 1.0, "--save_json", "a.json")
    assert status == 0
    assert [entry["objects"] for entry in entries(Path("a.json"))] == [[]] * NUM_PICTURES
    assert "a.jpg: nothing" in printed
    for name in names_in(Path("demo/result")):  # nothing drawn, but coded once more
        assert np.abs(read_image(pictures / name).astype(int) - read_image(Path("demo/result", name))).mean() < 4


@pytest.mark.parametrize(("args", "tile"), [(["--tile", 96], 96), (["--tile"], True)])
def test_tiles(demo: Demo, pictures: Path, detector_file: Path, args: list[object], tile: int | bool) -> None:
    demo("--images_dir", pictures, "--no-draw", *args, "--save-json", "a.json", "--score-threshold", 0.5)
    results = ssd.init_detector(detector_file, device="cpu").predict(pictures, tile=tile, score_threshold=0.5)
    assert entries(Path("a.json")) == [json.loads(result.to_json()) for result in results]
    whole = ssd.init_detector(detector_file, device="cpu").predict(pictures, score_threshold=0.5)
    assert list(map(len, results)) != list(map(len, whole))


def test_many_images_of_which_three_are_bad(demo: Demo, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(120):
        noise = np.random.default_rng(number).integers(0, 256, (12, 16, 3), np.uint8)
        assert cv2.imwrite(str(folder / f"{number:03d}.png"), noise)
    (folder / "007.png").write_bytes(b"")
    (folder / "100.png").write_text("text")
    (folder / "119.png").write_bytes((folder / "118.png").read_bytes()[:200])
    args = ("--output_dir", "drawn", "--save_json", "a.json", "--save_txt", "txt")
    status, printed, _ = demo("--source", folder, *args)
    assert status == 1
    report = printed.partition("3 image(s) failed:\n")[2].splitlines()
    assert [line.strip().partition(": ")[0] for line in report] == [
        str(folder / f"{name}.png") for name in ("007", "100", "119")
    ]
    assert [len(names_in(Path(name))) for name in ("drawn", "txt")] == [117, 118]  # classes.txt is the last one
    assert len(entries(Path("a.json"))) == 117
    content = json.loads(Path("a.json").read_text())
    assert content["complete"]
    assert content["failures"] == [line.strip() for line in report]
    assert "(0100/0120)" in printed
    assert "(0102/0120)" not in printed  # after a hundred lines it is quieter


def test_ctrl_c_completes_the_files(detector_file: Path, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "long.mp4", 25) as writer:
        for number in range(600):
            writer.write(np.full((48, 64, 3), number % 200, np.uint8))
    command = [sys.executable, ROOT / "demo.py", "--ckpt", detector_file, "--source", "long.mp4", "--output_dir", "out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    status, rest = interrupt([*command, "--save_json", "a.json"], "frame 10:", tmp_path, environment)
    assert status == 130, rest
    assert "Stopped by Ctrl-C" in rest
    content = json.loads((tmp_path / "a.json").read_text())
    assert not content["complete"]
    assert 10 < len(content["images"]) < 600
    assert cv2.VideoCapture(str(tmp_path / "out/long.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == len(content["images"])
    assert names_in(tmp_path) == ["a.json", "long.mp4", "out/long.mp4"]


def test_config_and_checkpoint(script: Script, detector_file: Path, pictures: Path, tmp_path: Path) -> None:
    config = tmp_path / "model.yaml"
    config.write_text(torch.load(detector_file, weights_only=True)["config"])
    outputs = ("--no_draw", "--save_json")
    both = ("--config-file", config, "--ckpt", detector_file, "--images_dir", pictures)
    assert script("demo.py", *both, *outputs, tmp_path / "both.json")[0] == 0
    alone = ("--ckpt", detector_file, "--images_dir", pictures)
    assert script("demo.py", *alone, *outputs, tmp_path / "alone.json")[0] == 0
    assert (tmp_path / "both.json").read_bytes() == (tmp_path / "alone.json").read_bytes()


def test_the_last_checkpoint_of_a_run(script: Script, trained: Path, pictures: Path, tmp_path: Path) -> None:
    options = ("--images_dir", pictures, "--output_dir", tmp_path / "drawn")
    status, printed, _ = script("demo.py", "--config-file", trained, *options)
    assert status == 0
    assert f"Loaded weights from {tmp_path / 'out' / 'model_final.pth'}" in printed
    assert len(names_in(tmp_path / "drawn")) == NUM_PICTURES


def test_classes_of_a_checkpoint_without_class_names(
    script: Script, detector_file: Path, pictures: Path, tmp_path: Path
) -> None:
    state = torch.load(detector_file, weights_only=True)
    bare = {"model": state["model"], "config": state["config"]}
    torch.save(bare, tmp_path / "three.pth")
    options = ("--source", pictures / "a.jpg", "--save_txt", tmp_path / "txt", "--no_draw")
    run = ("demo.py", "--ckpt", tmp_path / "three.pth", *options)
    for arguments, message in (((), "MODEL.WEIGHTS_CLASSES"), (("--dataset_type", "voc"), "20 names")):
        status, _, error = script(*run, *arguments)
        assert status == 1
        assert message in error
    assert script(*run, "MODEL.WEIGHTS_CLASSES", ["x", "y", "z"])[0] == 0
    assert (tmp_path / "txt" / "classes.txt").read_text() == "x\ny\nz\n"

    for name, tensor in bare["model"].items():
        if "cls_headers" in name:  # 4 priors of 4 classes to 4 priors of 21
            bare["model"][name] = tensor.unflatten(0, (4, 4))[:, [0, *[1] * 20]].flatten(0, 1)
    bare["config"] = bare["config"].replace("NUM_CLASSES: 4", "NUM_CLASSES: 21")
    torch.save(bare, tmp_path / "voc.pth")
    assert script("demo.py", "--ckpt", tmp_path / "voc.pth", *options, "--dataset_type", "voc")[0] == 0
    assert (tmp_path / "txt" / "classes.txt").read_text().split() == list(VOC_CLASSES)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--images_dir", "gone"], "gone: "),
        (["--images_dir", "my pictures", "--output_dir", "my pictures"], "--output_dir my pictures"),
        (["--source", "my pictures/a.jpg", "--save_txt", "my pictures"], "--save_txt my pictures"),
        (["--source", "97"], "camera 97: "),
        (["--source", "empty.mp4"], "empty.mp4: "),
        (["--images_dir", "my pictures", "--batch_size", "0"], "batch_size"),
        (["--images_dir", "my pictures", "--tile", "8"], "tile"),
        (["--images_dir", "my pictures", "--save_json", "gone/a.json"], "gone/a.json: "),
        (["--images_dir", "my pictures", "--output_dir", "empty.mp4/x"], "empty.mp4/x: "),
        (["--images_dir", "my pictures", "MODEL.DEVICE", "tpu"], "'tpu'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_end_in_a_message(demo: Demo, pictures: Path, args: list[str], message: str) -> None:
    Path("empty.mp4").touch()
    before = names_in(Path())
    status, _, error = demo(*args)
    assert status == 1
    assert error.startswith("error: ")
    assert message in error
    assert names_in(Path()) == before


def test_mistakes_of_options(script: Script) -> None:
    status, _, error = script("demo.py", "--tile", "MODEL.DEVICE", "cpu")
    assert status == 2
    assert "'MODEL.DEVICE'" in error
    status, _, error = script("demo.py")
    assert status == 1
    assert "--config-file" in error


def test_an_image_that_cannot_be_written_is_a_failure(demo: Demo, pictures: Path) -> None:
    Path("drawn/a.jpg").mkdir(parents=True)
    status, printed, _ = demo("--images_dir", pictures, "--output_dir", "drawn")
    assert status == 1
    assert "1 image(s) failed:\n  drawn/a.jpg: cannot be written" in printed
    assert len(names_in(Path("drawn"))) == NUM_PICTURES - 1


def test_a_name_that_is_no_unicode(demo: Demo, pictures: Path) -> None:
    name = os.fsdecode(b"\xff.jpg")
    shutil.copy(pictures / "a.jpg", name)
    status, printed, _ = demo("--source", name, "--output_dir", "drawn", "--save_json", "a.json", "--save_txt", "txt")
    assert status == 0
    assert "\\udcff.jpg: " in printed
    assert Path("drawn", name).is_file()
    assert entries(Path("a.json"))[0]["path"] == name


def test_a_page_is_asked_for(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "ssd.commands.demo.serve", lambda predictor, **options: calls.append({**options, "of": predictor})
    )
    status, _, errors = demo("--web", "--host", "0.0.0.0", "--port", 8000, "--score_threshold", 0.25)
    assert (status, errors) == (0, "")
    (call,) = calls
    assert (call["host"], call["port"], call["score_threshold"]) == ("0.0.0.0", 8000, 0.25)
    assert call["of"].class_names == ("__background__", "cat", "dog", "snow leopard")
    assert not Path("demo").exists()
    assert names_in(Path.cwd()) == []
