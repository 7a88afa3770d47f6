"""`ssd export` from the command line to files, report and exit status."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from ssd.cli import main
from ssd.commands import export as command
from ssd.config import load_config
from ssd.config.node import with_num_classes
from ssd.data.datasets import BACKGROUND
from ssd.deploy import OnnxDetector, checks, read_metadata
from ssd.modeling.detector import SSDDetector
from ssd.structures import Container
from tests.deploy.detectors import make_detector

Export = Callable[..., Any]

NAMES = (BACKGROUND, "circle", "crescent", "cross", "heart", "ring", "square", "star", "triangle")


@pytest.fixture
def checkpoint(config_file: Path, tmp_path: Path) -> Path:
    """A detector of scenes as a training leaves it, though its weights are random."""
    cfg = with_num_classes(load_config(config_file), NAMES)
    path = tmp_path / "model_final.pth"
    state = {"model": make_detector(cfg).state_dict(), "class_names": list(NAMES), "config": cfg.dump()}
    torch.save(state, path)
    return path


@pytest.fixture
def pictures(scenes: Path) -> Path:
    """A folder of twelve images."""
    return scenes / "JPEGImages"


@pytest.fixture
def export(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Export:
    """Run `ssd export` on the checkpoint; return exit status, standard output and error, and the report."""

    def run(output: str, *args: object) -> tuple[int, str, str, dict[str, Any]]:
        path = tmp_path / "exported" / output
        status = main(["export", "--ckpt", str(checkpoint), "-o", str(path), *map(str, args)])
        printed = capsys.readouterr()
        report = path.with_suffix(".report.json")
        return status, printed.out, printed.err, json.loads(report.read_text()) if report.exists() else {}

    return run


@pytest.fixture
def one_candidate(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Let the command time one function; return the images that it gets."""
    images: list[Tensor] = []
    monkeypatch.setattr(
        checks, "make_candidates", lambda *_: {"a way to run it": lambda _: lambda one: images or images.append(one)}
    )
    return images


@pytest.fixture
def _no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the export write an empty file."""

    def write(_: nn.Module, path: Path, *__: Any, **___: Any) -> Path:
        path.parent.mkdir()
        path.touch()
        return path

    monkeypatch.setattr(command, "export_onnx", write)


@pytest.mark.usefixtures("one_candidate")
def test_all_checks(export: Export, tmp_path: Path, pictures: Path) -> None:
    """A checkpoint is enough: its config names the scenes for comparison, calibration and evaluation."""
    options = ("--int8", "--calibration-images", 2, "--evaluate", "TEST.CLIP_BOXES", "True")
    status, out, _, report = export("model.onnx", *options)
    assert status == 0
    assert report["is_same"]
    assert sorted(path.name for path in (tmp_path / "exported").iterdir()) == [
        *("model.int8.json", "model.int8.onnx", "model.json", "model.onnx", "model.report.json")
    ]
    assert [(row["name"], row["batch_size"]) for row in report["parity"]] == [
        (f"model.onnx in {runtime}", size) for runtime in ("ONNX Runtime", "OpenVINO") for size in (1, 5)
    ]
    for row in report["parity"]:
        assert len(row["images"]) == 4  # test scenes
        assert row["num_matched"] > 50
        assert row["box_difference"] < 0.1
    assert len(report["agreement"]) == 2
    assert [row["name"] for row in report["accuracy"]] == ["PyTorch", "model.onnx", "model.int8.onnx"]
    assert report["accuracy"][0]["value"] == pytest.approx(report["accuracy"][1]["value"], abs=1e-6)
    assert {row["name"] for row in report["latency"]} == {"a way to run it"}
    assert report["notes"] == []
    assert report["machine"]["cpu"]
    assert "mAP on test_scenes (voc): PyTorch " in out
    assert "a way to run it" in out
    model = tmp_path / "exported" / "model.onnx"
    assert read_metadata(model).clip_boxes
    detector = OnnxDetector(model)
    assert (detector.class_names, len(detector.predict(pictures))) == (NAMES, 12)
    found = tmp_path / "found.json"
    assert main(["predict", str(model), str(pictures), "--no-draw", "--json", str(found)]) == 0
    assert len(json.loads(found.read_text())["images"]) == 12


def test_raw_and_int8_with_own_images_and_a_missing_runtime(export, config_file, pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    options = ("--raw", "--images", pictures, "--num-images", 2, "--int8", "--calibration-images", 2, "--skip-latency")
    gone = ("DATASETS.CUSTOM.train_scenes.ROOT", "gone")
    status, out, _, report = export("raw.onnx", "--config_file", config_file, *options, *gone)
    assert status == 0
    (parity,) = [row for row in report["parity"] if row["batch_size"] == 1]
    assert parity["name"] == "raw.onnx in ONNX Runtime"
    assert [image["name"] for image in parity["images"]] == list(map(str, sorted(pictures.iterdir())[:2]))
    graph = onnx.load(tmp_path / "exported" / "raw.onnx").graph
    assert [output.name for output in graph.output] == ["cls_logits", "bbox_pred"]
    assert (report["latency"], "Milliseconds" in out) == ([], False)
    for fact in ("--evaluate", "raw.onnx in OpenVINO: "):
        assert any(fact in note for note in report["notes"])
    assert all(note in out for note in report["notes"])
    assert [row["name"] for row in report["agreement"]] == ["raw.int8.onnx in ONNX Runtime"]


@pytest.mark.filterwarnings("default::FutureWarning")  # of torch.export
def test_a_program(export: Export) -> None:
    status, out, _, report = export("model.pt2", "--skip_latency")
    assert status == 0
    assert [row["name"] for row in report["parity"]] == ["model.pt2", "model.pt2"]
    assert "model.pt2 compared with PyTorch, batches of 5" in out


@pytest.mark.usefixtures("_no_file")
def test_without_images_checks_are_skipped_with_notes(export: Export, one_candidate: list[Tensor]) -> None:
    status, out, _, report = export("model.onnx", "DATASETS.CUSTOM.test_scenes.ROOT", "gone")
    assert (status, "WARNING" in out) == (0, True)
    assert "--images" in report["notes"][0]
    assert report["notes"][0] in out
    assert "noise" in report["notes"][1]
    assert report["parity"] == []
    assert report["latency"][0]["milliseconds"] > 0
    assert (one_candidate[0].shape, one_candidate[0].dtype) == ((1, 3, 96, 128), torch.uint8)
    assert one_candidate[0].float().std() > 50


@pytest.mark.usefixtures("_no_file")
def test_another_result_is_the_exit_status(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that finds nothing."""

    def find_nothing(images: Tensor) -> list[Container]:
        none = Container(boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64), scores=torch.zeros(0))
        none.img_height, none.img_width = images.shape[2:]
        return [none] * len(images)

    monkeypatch.setattr(checks, "exported_networks", lambda *_: {"broken": lambda _: find_nothing})
    status, out, _, report = export("model.onnx", "--skip-latency")
    assert (status, report["is_same"]) == (1, False)
    assert "another result: test_scenes, image 0: " in out
    assert len(report["parity"][0]["different"]) == 4


@pytest.mark.parametrize(
    ("args", "fact"),
    [
        (("model.pb",), "model.pb"),
        (("model.pt2", "--int8"), "--int8"),
        (("model.onnx", "--num-images", "0"), "--num-images must be at least 1, got 0"),
        (("model.onnx", "--images", "nowhere"), "nowhere"),
        (("model.onnx", "TEST.NMS_THRESHOL", "0.5"), "TEST.NMS_THRESHOLD?"),
        (("model.onnx", "--evaluate", "TEST.METRIC", "cocoa"), "'cocoa'"),
        (("model.onnx", "--evaluate", "DATASETS.CUSTOM.test_scenes.ROOT", "gone"), "gone"),
        (("model.onnx", "--int8", "DATASETS.CUSTOM.train_scenes.ROOT", "gone"), "--images"),
        (("model.onnx", "MODEL.NUM_CLASSES", "5"), "MODEL.NUM_CLASSES is 5"),
    ],
)
def test_mistakes_end_in_a_message(export: Export, tmp_path: Path, args: tuple[str, ...], fact: str) -> None:
    status, _, error, _ = export(*args)
    assert status == 1
    assert error.startswith("error: ")
    assert fact in error
    assert not list(tmp_path.glob("exported/*"))


def test_an_output_that_cannot_be_written(export: Export, tmp_path: Path) -> None:
    (tmp_path / "exported").write_text("a file")
    status, _, error, _ = export("model.onnx")
    assert (status, "exported" in error) == (1, True)


def test_it_is_exported_in_float32_on_the_cpu(checkpoint: Path) -> None:
    args = ["--ckpt", str(checkpoint), "-o", "model.onnx", "TEST.AMP", "bf16"]
    cfg, trained, _ = command.load(command.parse_args(args))
    assert (cfg.TEST.AMP, cfg.MODEL.DEVICE, trained.metadata.class_names) == ("off", "cpu", NAMES)
    assert isinstance(trained.model, SSDDetector)
    assert not trained.model.training
