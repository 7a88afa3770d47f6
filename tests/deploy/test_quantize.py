"""int8: nodes, ranges, and a small detector."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from ssd.deploy import Metadata, OnnxNetwork, read_metadata, side_car, write_metadata
from ssd.deploy.quantize import CalibrationReader, network_input, nodes_between_convolutions, quantize_onnx
from ssd.utils.errors import ExportError, MissingPackageError
from tests.deploy.detectors import make_batch


def node(kind: str, inputs: Sequence[str], output: str, name: str | None = None) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), [output], name=output if name is None else name)


def test_nodes_between_convolutions() -> None:
    """A chain of two convolutions with a branch past the second, two that predict, and what comes before and after."""
    nodes = [
        node("Sub", ["images", "mean"], "pixels"),
        node("Conv", ["pixels", "w1"], "first"),
        node("Relu", ["first"], "relu"),
        node("Conv", ["relu", "w2"], "second"),
        node("Add", ["second", "relu"], "sum"),
        node("Mul", ["sum", "scale"], "scaled"),
        node("Conv", ["scaled", "w3"], "classes"),
        node("Conv", ["sum", "w4"], "offsets"),
        node("Transpose", ["classes"], "cls_logits"),
        node("Exp", ["offsets"], "sizes"),
        node("Concat", ["sizes", "sum"], "bbox_pred"),
    ]
    assert nodes_between_convolutions(nodes) == ["first", "relu", "second", "sum", "scaled"]


def test_nodes_without_a_name_or_between_convolutions() -> None:
    """Names are given; one layer of convolutions has nothing between."""
    nodes = [node("Conv", ["images", "w1"], "a", ""), node("Relu", ["a"], "b", ""), node("Conv", ["b", "w2"], "c", "")]
    assert nodes_between_convolutions(nodes) == [nodes[0].name, nodes[1].name]
    assert nodes[0].name != nodes[1].name
    assert nodes_between_convolutions([node("Conv", ["images", "w"], "a"), node("Conv", ["images", "w"], "b")]) == []
    assert nodes_between_convolutions([]) == []


@pytest.fixture
def toy_metadata(metadata: Metadata) -> Metadata:
    """Of a raw network for 2 x 2 pixels whose input is the pixels themselves."""
    return replace(metadata, image_size=(2, 2), pixel_mean=(0.0,) * 3, pixel_std=(1.0,) * 3, kind="raw")


def grey(value: int) -> np.ndarray:
    return np.full((2, 2, 3), value, np.uint8)


def test_network_input(toy_metadata: Metadata) -> None:
    image = np.array([[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [100, 110, 120]]], np.uint8)
    raw = replace(toy_metadata, pixel_mean=(10.0, 20.0, 30.0), pixel_std=(2.0, 5.0, 10.0))
    values = network_input(image, raw)
    assert (values.dtype, values.shape, values.flags["C_CONTIGUOUS"]) == (np.float32, (1, 3, 2, 2), True)
    np.testing.assert_array_equal(values[0], [[[0, 15], [30, 45]], [[0, 6], [12, 18]], [[0, 3], [6, 9]]])
    complete = network_input(image, replace(toy_metadata, kind="complete"))
    assert complete.dtype == np.uint8
    np.testing.assert_array_equal(complete, image[None])
    assert network_input(np.zeros((7, 5, 3), np.uint8), raw).shape == (1, 3, 2, 2)


def test_reader(toy_metadata: Metadata) -> None:
    reader = CalibrationReader(iter([grey(1), grey(2)]), toy_metadata, "images")
    found = [reader.get_next() for _ in range(4)]
    assert [values and values["images"].max() for values in found] == [1, 2, None, None]


@pytest.fixture
def toy(tmp_path: Path, toy_metadata: Metadata) -> Path:
    """Two 1x1 convolutions: channels times (2, 1, 0.002), then times one."""
    weights = {"w1": np.diag([2, 1, 0.002]), "w2": np.eye(3)}
    graph = helper.make_graph(
        [node("Conv", ["images", "w1"], "scaled"), node("Conv", ["scaled", "w2"], "cls_logits")],
        "toy",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 2, 2])],
        [helper.make_tensor_value_info("cls_logits", TensorProto.FLOAT, ["batch", 3, 2, 2])],
        [numpy_helper.from_array(array[:, :, None, None].astype(np.float32), name) for name, array in weights.items()],
    )
    path = tmp_path / "toy.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    write_metadata(toy_metadata, path)
    return path


def run_toy(path: Path, value: int) -> list[float]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"images": np.full((1, 3, 2, 2), value, np.float32)})
    return result[0, :, 0, 0].tolist()


def test_ranges_and_scales(toy: Path, tmp_path: Path) -> None:
    """Ranges are the means of those of the images; each channel has its own scale.

    Pixels are 0 to 100 in steps of 100 / 255, and results 0 to 200 in steps of 200 / 255. Brighter pixels are cut off.
    With one scale for all weights, 2 / 127, the third would round to zero.
    """
    path = quantize_onnx(toy, tmp_path / "int8.onnx", [grey(150), grey(50), grey(100)])
    np.testing.assert_allclose(run_toy(path, 100), [200, 100, 0.2], atol=0.5)
    np.testing.assert_allclose(run_toy(path, 50), [100, 50, 0.1], atol=0.5)
    np.testing.assert_allclose(run_toy(path, 150), [200, 100, 0.2], atol=0.5)
    np.testing.assert_allclose(run_toy(toy, 150), [300, 150, 0.3], rtol=1e-6)
    arrays = [numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]
    weights = {array.dtype: array for array in arrays if array.shape == (3, 3, 1, 1)}
    assert np.dtype(np.float32) in weights  # the last layer
    np.testing.assert_array_equal(weights[np.dtype(np.int8)][:, :, 0, 0], 127 * np.eye(3))


def test_errors(toy: Path, tmp_path: Path, toy_metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "int8.onnx"
    with pytest.raises(ExportError, match=r"gone\.onnx"):
        quantize_onnx("gone.onnx", output, [grey(1)])
    model = onnx.load(toy)
    del model.graph.node[0]
    model.graph.node[0].input[0] = "images"
    onnx.save(model, tmp_path / "flat.onnx")
    write_metadata(toy_metadata, tmp_path / "flat.onnx")
    with pytest.raises(ExportError, match=r"flat\.onnx"):
        quantize_onnx(tmp_path / "flat.onnx", output, [grey(1)])
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(MissingPackageError, match=r"\[onnx\]"):
        quantize_onnx(toy, output, [grey(1)])
    assert not output.exists()
    assert not side_car(output).exists()


@pytest.mark.parametrize("kind", ["complete", "raw"])
def test_a_detector(kind: str, exported: Path, tmp_path: Path, small_config) -> None:
    path = exported / f"{kind}.onnx"
    batch = make_batch(small_config, 4)
    output = quantize_onnx(path, tmp_path / "model.int8.onnx", batch.permute(0, 2, 3, 1).contiguous().numpy())
    assert output.stat().st_size < 0.6 * path.stat().st_size
    described = read_metadata(output)
    assert described == replace(read_metadata(path), sha256=described.sha256)

    exact, quantized = OnnxNetwork(path)(batch), OnnxNetwork(output)(batch)
    for one, other in zip(exact, quantized, strict=True):
        assert len(one["scores"]) > 5
        best, label = one["boxes"][0], one["labels"][0]
        near = (other["boxes"] - best).abs().amax(dim=1) < 6  # of 128 pixels
        assert (near & (other["labels"] == label)).any()
    assert any(not torch.equal(a["scores"], b["scores"]) for a, b in zip(exact, quantized, strict=True))
