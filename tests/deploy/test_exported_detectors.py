"""Exported files in ONNX Runtime and OpenVINO: the same detections as PyTorch's, and what can be wrong."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssd.config import Config
from ssd.deploy import OnnxDetector, OnnxNetwork, OpenVinoDetector, OpenVinoNetwork, make_metadata, side_car
from ssd.deploy.exported_network import ExportedNetwork, make_post_processor
from ssd.structures import Container
from ssd.tools.data.scenes import render_scene
from ssd.utils.errors import DeviceError, ExportError, MissingPackageError

NAMES = ("__background__", "a", "b", "c", "d")
NETWORKS = {"onnxruntime": OnnxNetwork, "openvino": OpenVinoNetwork}
DETECTORS = {"onnxruntime": OnnxDetector, "openvino": OpenVinoDetector}


@pytest.mark.parametrize("kind", ["complete", "raw"])
@pytest.mark.parametrize("runtime", NETWORKS)
def test_networks_find_what_torch_finds(
    runtime: str,
    kind: str,
    exported: Path,
    small_config: Config,
    small_detector: nn.Module,
    make_batch: Callable[[Config, int], Tensor],
    detect: Callable[..., list[Container]],
    check_same: Callable[..., tuple[float, float]],
) -> None:
    pytest.importorskip(runtime)
    network = NETWORKS[runtime](exported / f"{kind}.onnx", num_threads=1)
    images = make_batch(small_config, 6)
    expected = detect(small_config, small_detector, images)
    results = [network(images[:5]), network(images[5:]), network(images[:5])]
    check_same(small_config, results[0], expected[:5], least=10)  # still whole after the calls that followed
    check_same(small_config, results[1], expected[5:])
    for found, again in zip(results[0], results[2], strict=True):
        for name in ("boxes", "labels", "scores"):
            assert found[name].dtype == expected[0][name].dtype
            assert torch.equal(found[name], again[name])


@pytest.mark.parametrize("runtime", DETECTORS)
def test_detectors_predict(
    runtime: str,
    exported: Path,
    detect: Callable[..., list[Container]],
    small_config: Config,
    small_detector: nn.Module,
) -> None:
    pytest.importorskip(runtime)
    detector = DETECTORS[runtime](exported / "complete.onnx")
    image, _ = render_scene(0, 3, (128, 96))
    (found,) = detector.predict([image])
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    (expected,) = detect(small_config, small_detector, batch)
    assert found.class_names == NAMES
    np.testing.assert_allclose(found.boxes, expected["boxes"], atol=1e-2)
    np.testing.assert_allclose(found.scores, expected["scores"], atol=1e-4)
    twice = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    np.testing.assert_allclose(detector(twice).boxes[0], found.boxes[0] * 2, atol=1e-1)


def test_openvino_in_bf16_is_near(
    exported: Path, small_config: Config, small_detector: nn.Module, make_batch: Callable[[Config, int], Tensor]
) -> None:
    pytest.importorskip("openvino")
    network = OpenVinoNetwork(exported / "raw.onnx", precision="bf16")
    inputs = np.random.default_rng(0).normal(size=(1, 3, 96, 128)).astype(np.float32)
    exact = OpenVinoNetwork(exported / "raw.onnx").run(inputs)
    for found, expected in zip(network.run(inputs), exact, strict=True):
        assert np.abs(found - expected).max() < 0.05 * expected.std()


def test_post_processing_of_a_raw_file(with_options: Callable[..., Config], small_detector: nn.Module) -> None:
    options = ["TEST.MAX_PER_CLASS", 7, "TEST.MAX_PER_IMAGE", -1, "TEST.CLIP_BOXES", True, "TEST.NMS_THRESHOLD", 0.6]
    options += ["TEST.CONFIDENCE_THRESHOLD", 0.0, "TEST.PRE_NMS_TOP_K", 9]
    config = with_options(*options, "MODEL.CENTER_VARIANCE", 0.3)
    process = make_post_processor(make_metadata(config, small_detector, NAMES))
    assert vars(process) == {
        **{"height": 96, "width": 128, "center_variance": 0.3, "size_variance": 0.2, "score_threshold": 0.0},
        **{"nms_threshold": 0.6, "pre_nms_top_k": 9, "max_per_class": 7, "max_per_image": sys.maxsize, "clip": True},
    }


@pytest.mark.parametrize(("runtime", "extra"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_a_missing_runtime_names_its_extra(
    runtime: str, extra: str, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, runtime, None)
    with pytest.raises(MissingPackageError, match=rf"{runtime} cannot be imported.*-e '\.\[{extra}\]'") as error:
        DETECTORS[runtime](exported / "raw.onnx")
    assert isinstance(error.value, ImportError)


@pytest.mark.parametrize("runtime", DETECTORS)
def test_damaged_and_foreign_files(runtime: str, exported: Path, tmp_path: Path) -> None:
    pytest.importorskip(runtime)
    path = tmp_path / "model.onnx"
    path.write_bytes((exported / "complete.onnx").read_bytes()[:-100])
    with pytest.raises(ExportError, match=r"model\.onnx has no model\.json"):
        DETECTORS[runtime](path)
    side_car(path).write_bytes(side_car(exported / "complete.onnx").read_bytes())
    with pytest.raises(ExportError, match="was written for another file"):
        DETECTORS[runtime](path)
    with pytest.raises(ExportError, match="does not exist"):
        DETECTORS[runtime](tmp_path / "nothing.onnx")


def test_an_unknown_provider(exported: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(DeviceError, match=r"no provider 'FastProvider' here; it has .*CPUExecutionProvider"):
        OnnxDetector(exported / "raw.onnx", providers=["FastProvider", "CPUExecutionProvider"])


def test_the_base_runs_nothing_itself(exported: Path) -> None:
    with pytest.raises(NotImplementedError):
        ExportedNetwork(exported / "raw.onnx")(torch.zeros(1, 3, 96, 128, dtype=torch.uint8))
