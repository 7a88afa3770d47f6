"""What `ssd.load` returns, and the commands as functions."""

from pathlib import Path

import numpy as np
import pytest
import torch

import ssd
from ssd.deploy.detector import Detector, Run
from ssd.utils.errors import ExportError
from tests.conftest import restored_logger


@pytest.fixture(scope="module")
def run(write_config, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    config = write_config(folder)
    with restored_logger():
        overrides = [
            *("SOLVER.OPTIMIZER", "adamw", "SOLVER.LR", 5e-3, "SOLVER.MAX_ITER", 60, "SOLVER.BATCH_SIZE", 4),
            *("INPUT.AUGMENTATION.CROP", False, "INPUT.AUGMENTATION.EXPAND", False),
            *("DATASETS.CUSTOM.test_scenes.SPLIT", "trainval"),  # what is learnt by heart
        ]
        return ssd.train(config, overrides, log_step=2, eval_step=40, use_tensorboard=False)


def test_a_run_in_a_notebook(run: Run) -> None:
    assert run.status == 0
    assert run.metrics["test_scenes"].keys() >= {"mAP", "circle"}
    assert "test_scenes: mAP" in repr(run)
    html = run._repr_html_()
    assert ("data:image/png" in html, "<td>mAP</td>" in html) == (True, True)
    states = [torch.load(run.folder / f"model_{name}.pth", weights_only=True) for name in ("best", "final")]
    assert all("score_thresholds" in state for state in states)


def test_whatever_has_a_detector(run: Run, scenes: Path) -> None:
    image = scenes / "JPEGImages" / "000001.jpg"
    detectors = [ssd.load(run.folder), ssd.load(run.folder / "model_best.pth"), run.detector]
    expected, *others = [detector.predict(image, score_threshold=0.0)[0] for detector in detectors]
    assert len(expected) > 0
    assert all(np.array_equal(expected.boxes, found.boxes) for found in others)
    assert "8 classes: circle, crescent" in repr(detectors[0])
    assert "128 x 96" in repr(detectors[0])


def test_it_evaluates_and_exports_itself(run: Run, scenes: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    detector = ssd.load(run.folder / "model_final.pth")
    result = detector.evaluate(scenes, split="trainval", metric="voc")
    assert 0 < result.main == pytest.approx(run.metrics["test_scenes"]["mAP"], abs=0.02)
    exported = ssd.load(detector.export(tmp_path / "model.onnx"))
    assert isinstance(exported, Detector)
    assert exported.score_threshold == detector.score_threshold
    assert exported.evaluate(scenes, split="trainval", metric="voc").main == pytest.approx(result.main, abs=0.02)
    with pytest.raises(ExportError, match="exported file already"):
        exported.export(tmp_path / "again.onnx")
    with pytest.raises(ExportError, match=r"model\.bin"):
        detector.export(tmp_path / "model.bin")


def test_the_published_detectors() -> None:
    found = ssd.models("mmdet")
    assert {model.name for model in found} >= {"mmdet/ssd512_coco"}
    assert "<td>mmdet/ssd512_coco</td>" in found._repr_html_()


def test_the_names_of_the_package() -> None:
    assert set(dir(ssd)) == set(ssd.__all__)
    assert all(hasattr(ssd, name) for name in ssd.__all__)
