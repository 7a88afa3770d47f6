"""TensorFlow Lite files: every number format, and damaged files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from ssd.utils.errors import CheckpointError
from ssd.weights.formats.reading import read_weights
from ssd.weights.tflite import layer_name
from tests.fuzz.mutations import damaged
from tests.weights.tflite_files import tensor, write_model

CONV, DEPTHWISE, DEQUANTIZE, DETECTION = 3, 4, 6, "TFLite_Detection_PostProcess"
RNG = np.random.default_rng(0)
KERNEL = RNG.integers(0, 256, (4, 3, 3, 3), np.uint8)  # O, h, w, I
PER_CHANNEL = RNG.integers(-128, 128, (1, 3, 3, 4)).astype(np.int8)  # 1, h, w, C
HALF = RNG.normal(size=(2, 1, 1, 4)).astype(np.float16)
BIASES = np.array([5, -6, 7, 0], np.int32)
ANCHORS = RNG.integers(0, 256, (6, 4), np.uint8)
SCALES = [0.5, 0.25, 2.0, 1.0]
TENSORS = [
    tensor("image", scale=[1 / 128], zero=[128], shape=(1, 20, 30, 3), dtype="uint8"),
    tensor("kernel", KERNEL, [0.5], zero=[100]),
    tensor("biases", BIASES, [0.01]),
    tensor("Net/Conv/Relu6"),
    tensor("depthwise", PER_CHANNEL, SCALES, axis=3),
    tensor("Net/Conv_1/depthwise/BatchNorm/FusedBatchNormV3;Net/Conv/Conv2D1"),
    tensor("half", HALF),
    tensor("half_dequantize"),
    tensor("Head_0/BiasAdd_2;Head_0/Conv2D"),
    tensor("anchors", ANCHORS, [0.01], zero=[3]),
    tensor("boxes"),
]
OPERATORS = [
    (CONV, (0, 1, 2), 3),
    (DEPTHWISE, (3, 4, 2), 5),
    (DEQUANTIZE, (6,), 7),
    (CONV, (5, 7, -1), 8),
    (DETECTION, (8, 8, 9), 10),
]
MODEL = write_model(TENSORS, OPERATORS)


def read(folder: Path, data: bytes) -> Any:
    (folder / "a.tflite").write_bytes(data)
    return read_weights(str(folder / "a.tflite"))


def test_weights_are_dequantised_in_the_layout_of_tensorflow(tmp_path: Path) -> None:
    file = read(tmp_path, MODEL)
    expected = {
        "Net/Conv/weights": 0.5 * (KERNEL.astype(np.float32) - 100).transpose(1, 2, 3, 0),
        "Net/Conv/biases": BIASES * np.float32(0.01),
        "Net/Conv_1/depthwise/depthwise_weights": (PER_CHANNEL * np.float32(SCALES)).transpose(1, 2, 3, 0),
        "Net/Conv_1/depthwise/biases": BIASES * np.float32(0.01),
        "Head_0/weights": HALF.transpose(1, 2, 3, 0),
    }
    assert file.weights.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(file.weights[name], values, rtol=1e-6)
    content = dict(file.content)
    np.testing.assert_allclose(content.pop("anchors"), (ANCHORS.astype(np.float32) - 3) * 0.01, rtol=1e-6)
    assert content == {"input_size": (20, 30), "input_mean": 128.0, "input_std": 128.0}


def test_int8_inputs_are_the_pixels_less_128(tmp_path: Path) -> None:
    image = tensor("image", scale=[1 / 127.5], zero=[-1], shape=(1, 20, 30, 3), dtype="int8")
    content = read(tmp_path, write_model([image, *TENSORS[1:]], OPERATORS)).content
    assert (content["input_mean"], round(content["input_std"], 3)) == (127.0, 127.5)


@pytest.mark.parametrize(
    ("output", "layer"),
    [
        ("Net/Conv_1/depthwise/Relu6;a;b", "Net/Conv_1/depthwise"),
        ("Net/Conv_1/depthwise/depthwise", "Net/Conv_1/depthwise"),
        ("model/block_1_project_BN/FusedBatchNormV31", "model/block_1_project_BN"),
        ("Box/BoxPredictor/separable_conv2d_4/depthwise1", "Box/BoxPredictor"),
    ],
)
def test_layers_are_named_by_their_outputs(output: str, layer: str) -> None:
    assert layer_name(output) == layer


SHARED = np.zeros((64, 8, 8, 64), np.float32)


@pytest.mark.parametrize(
    ("kernels", "reason"),
    [
        ([tensor("kernel", KERNEL, [0.5], sparse=True)], "kernel is sparse"),
        ([tensor("kernel", KERNEL)], "kernel has no scale"),
        ([tensor("kernel", KERNEL[0], [0.5])], "3 dimensions"),
        ([tensor("kernel", KERNEL, SCALES[:3])], "broadcast"),
        ([tensor(f"kernel_{n}", SHARED) for n in range(3)], "larger than the file"),
    ],
)
def test_what_cannot_be_read_is_named(kernels: list, reason: str, tmp_path: Path) -> None:
    operators = [(CONV, (0, len(TENSORS) + place), 3) for place in range(len(kernels))]
    with pytest.raises(CheckpointError, match=rf"a\.tflite.*{reason}"):
        read(tmp_path, write_model([*TENSORS, *kernels], operators))


def test_levels_may_share_a_kernel_and_other_files_are_refused(tmp_path: Path) -> None:
    model = write_model([*TENSORS, tensor("shared", SHARED)], [(CONV, (0, len(TENSORS)), 3)] * 5)
    assert list(read(tmp_path, model).weights) == ["Net/Conv/weights"]
    with pytest.raises(CheckpointError, match="not a TensorFlow Lite file"):
        read(tmp_path, b"PK" + MODEL)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=damaged(MODEL))
def test_a_damaged_file_loads_or_is_refused(tmp_path: Path, data: bytes) -> None:
    try:
        file = read(tmp_path, data)
    except CheckpointError as error:
        assert "a.tflite" in str(error)  # noqa: PT017  # some damage is beside what is read
    else:
        assert sum(value.nbytes for value in file.weights.values()) <= 4 * len(data)
