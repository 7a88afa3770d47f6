"""The ways in which PyTorch runs a detector find the same."""

from pathlib import Path

import pytest
import torch

from ssd.config import Config
from ssd.deploy import Metadata, trained
from ssd.deploy.trained import PlainNetwork, Trained, make_candidates
from tests.deploy.detectors import assert_same, detect, make_batch


@pytest.fixture
def detector(small_detector, metadata: Metadata) -> Trained:
    return Trained(small_detector.eval(), metadata)


@pytest.mark.parametrize("has_bf16", [False, True])
def test_names_of_candidates(detector, monkeypatch, has_bf16):
    """Those in bf16 are for CPUs that compute in it."""
    monkeypatch.setattr(trained, "has_bf16_arithmetic", lambda: has_bf16)
    model = ["PyTorch, as trained", "PyTorch, batch norms folded"]
    in_bf16 = ["PyTorch, folded, bf16", "m.onnx in OpenVINO, bf16"] if has_bf16 else []
    assert list(make_candidates(detector, [Path("m.onnx"), Path("m.int8.onnx")])) == [
        *model,
        *("m.onnx in ONNX Runtime", "m.onnx in OpenVINO", "m.int8.onnx in ONNX Runtime", "m.int8.onnx in OpenVINO"),
        *in_bf16,
    ]
    assert list(make_candidates(detector, [Path("m.pt2")])) == [*model, "m.pt2", *in_bf16[:1]]


def check(config: Config, detector: Trained, network: object) -> None:
    images = make_batch(config, 2)
    assert callable(network)
    box, score = assert_same(config, network(images), detect(config, detector.model, images))
    assert box < 1e-3
    assert score < 1e-4


def test_candidates_of_pytorch_find_the_same(small_config, detector):
    before = {name: value.clone() for name, value in detector.model.state_dict().items()}
    candidates = list(make_candidates(detector, [Path("m.pt2")]).values())
    for make in candidates[:2]:
        check(small_config, detector, make(1))
    assert all(torch.equal(value, before[name]) for name, value in detector.model.state_dict().items())


def test_bf16_does_not_change_the_model(small_config, detector, monkeypatch):
    monkeypatch.setattr(trained, "has_bf16_arithmetic", lambda: True)
    candidates = make_candidates(detector, [Path("m.onnx")])
    images = make_batch(small_config, 1)
    (exact,) = PlainNetwork(detector)(images)
    (found,) = candidates["PyTorch, folded, bf16"](1)(images)
    assert len(found["scores"]) > 0
    assert not torch.equal(found["scores"][:5], exact["scores"][:5])
    assert torch.equal(PlainNetwork(detector)(images)[0]["scores"], exact["scores"])
    assert {parameter.dtype for parameter in detector.model.parameters()} == {torch.float32}


def test_openvino_gets_threads_and_precision(exported, detector, monkeypatch):
    openvino = pytest.importorskip("openvino")
    settings = []
    compile_model = openvino.Core.compile_model

    def spy(core: object, model: object, device: str, config: dict[str, object]) -> object:
        settings.append((config["INFERENCE_NUM_THREADS"], config["INFERENCE_PRECISION_HINT"]))
        return compile_model(core, model, device, config)

    monkeypatch.setattr(openvino.Core, "compile_model", spy)
    monkeypatch.setattr(trained, "has_bf16_arithmetic", lambda: True)
    candidates = make_candidates(detector, [exported / "raw.onnx"])
    for name, num_threads in (("raw.onnx in OpenVINO", 1), ("raw.onnx in OpenVINO, bf16", 2)):
        candidates[name](num_threads)(torch.zeros(1, 3, 96, 128, dtype=torch.uint8))
    assert settings == [(1, "f32"), (2, "bf16")]
