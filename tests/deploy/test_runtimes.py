"""Exported files in ONNX Runtime, OpenVINO and PyTorch: the detections of PyTorch, and errors."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ssd.deploy import Metadata, OnnxDetector, OpenVinoDetector, OpenVinoNetwork, make_metadata, side_car
from ssd.deploy.runtimes import ExportedNetwork, exported_networks
from ssd.modeling.detector import SSDDetector
from ssd.tools.data.scenes import render_scene
from ssd.utils.errors import ExportError, MissingPackageError
from tests.deploy.detectors import NAMES, assert_same, detect, make_batch, make_detector, make_small_config

DETECTORS = {"onnxruntime": OnnxDetector, "openvino": OpenVinoDetector}


@pytest.mark.parametrize("kind", ["complete", "raw"])
@pytest.mark.parametrize("runtime", [*DETECTORS, "torch"])
def test_networks_find_what_torch_finds(runtime, kind, exported, small_config, small_detector):
    pytest.importorskip(runtime)
    makers = exported_networks(exported / f"{kind}.onnx") | exported_networks(exported / f"{kind}.pt2")
    make = dict(zip([*DETECTORS, "torch"], makers.values(), strict=True))[runtime]
    network = make(1)
    images = make_batch(small_config, 6)
    expected = detect(small_config, small_detector, images)
    results = [network(images[:5]), network(images[5:]), network(images[:5])]
    box, score = assert_same(small_config, results[0], expected[:5], least=10)  # not overwritten by the later calls
    assert_same(small_config, results[1], expected[5:])
    assert box < 1e-2
    assert score < 1e-4
    for found, again in zip(results[0], results[2], strict=True):
        for name in ("boxes", "labels", "scores"):
            assert found[name].dtype == expected[0][name].dtype
            assert torch.equal(found[name], again[name])


@pytest.mark.parametrize("runtime", DETECTORS)
def test_detectors_predict(runtime: str, exported: Path, small_config, small_detector: SSDDetector) -> None:
    pytest.importorskip(runtime)
    detector = DETECTORS[runtime](exported / "complete.onnx")
    image, _ = render_scene(0, 3, (128, 96))
    (found,) = detector.predict([image], score_threshold=0.0)
    (expected,) = detect(small_config, small_detector, torch.from_numpy(image).permute(2, 0, 1)[None])
    assert found.class_names == NAMES
    np.testing.assert_allclose(found.boxes, expected["boxes"], atol=1e-2)
    np.testing.assert_allclose(found.scores, expected["scores"], atol=1e-4)
    twice = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    np.testing.assert_allclose(detector.predict(twice, score_threshold=0.0)[0].boxes[0], found.boxes[0] * 2, atol=1e-1)


# Two networks that end in the order in which they began, then a signal with a handler.
SIGNAL_AFTER_NETWORKS = """
import gc, signal, sys
import numpy as np
from ssd.deploy.runtimes import OpenVinoNetwork

signal.signal(signal.SIGTERM, lambda *_: print("handled"))
networks = [OpenVinoNetwork(sys.argv[1], num_threads=1) for _ in range(2)]
list(map(lambda network: network.run(np.zeros((1, 3, 96, 128), np.float32)), networks))
while networks:
    del networks[0]
    gc.collect()
signal.raise_signal(signal.SIGTERM)
"""


def test_signals_after_openvino(exported: Path) -> None:
    """In a process of its own, which ended by SIGSEGV before the networks shared a Core."""
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", SIGNAL_AFTER_NETWORKS, str(exported / "raw.onnx")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "handled\n"), run.stderr


def test_openvino_in_bf16_is_near(exported: Path) -> None:
    pytest.importorskip("openvino")
    network = OpenVinoNetwork(exported / "raw.onnx", precision="bf16")
    inputs = np.random.default_rng(0).normal(size=(1, 3, 96, 128)).astype(np.float32)
    exact = OpenVinoNetwork(exported / "raw.onnx").run(inputs)
    for found, expected in zip(network.run(inputs), exact, strict=True):
        assert np.abs(found - expected).max() < 0.05 * expected.std()


class InTorch(ExportedNetwork):
    """A raw file whose outputs are those of the model."""

    def __init__(self, model: SSDDetector, metadata: Metadata):
        super().__init__(metadata)
        self.model = model

    @torch.no_grad()
    def run(self, inputs: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in self.model.predict(torch.from_numpy(inputs))]


@pytest.mark.parametrize(
    "options",
    [
        ["TEST.MAX_PER_CLASS", 7, "TEST.MAX_PER_IMAGE", -1, "TEST.CLIP_BOXES", True, "MODEL.CENTER_VARIANCE", 0.3],
        ["TEST.CONFIDENCE_THRESHOLD", 0.1, "TEST.NMS_THRESHOLD", 0.6, "TEST.PRE_NMS_TOP_K", 9],
        ["INPUT.PIXEL_MEAN", [1, 2, 3], "INPUT.PIXEL_STD", [50, 60, 70], "MODEL.SIZE_VARIANCE", 0.1],
    ],
)
def test_raw_files_are_processed_as_their_metadata_say(options: list) -> None:
    config = make_small_config(*options)
    model = make_detector(config)
    images = make_batch(config, 2)
    network = InTorch(model, replace(make_metadata(config, model, NAMES), kind="raw"))
    box, score = assert_same(config, network(images), detect(config, model, images), least=5)
    assert box < 1e-3
    assert score < 1e-5


@pytest.mark.parametrize(("runtime", "extra"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_a_missing_runtime(runtime: str, extra: str, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, runtime, None)
    with pytest.raises(MissingPackageError, match=rf"{runtime} .*\[{extra}\]") as error:
        DETECTORS[runtime](exported / "raw.onnx")
    assert isinstance(error.value, ImportError)


@pytest.mark.parametrize("runtime", DETECTORS)
def test_damaged_and_foreign_files(runtime: str, exported: Path, tmp_path: Path) -> None:
    pytest.importorskip(runtime)
    path = tmp_path / "model.onnx"
    path.write_bytes((exported / "complete.onnx").read_bytes()[:-100])
    with pytest.raises(ExportError, match=r"model\.json"):
        DETECTORS[runtime](path)
    side_car(path).write_bytes(side_car(exported / "complete.onnx").read_bytes())
    with pytest.raises(ExportError, match="sha256"):
        DETECTORS[runtime](path)
    with pytest.raises(ExportError, match=r"nothing\.onnx"):
        DETECTORS[runtime](tmp_path / "nothing.onnx")
