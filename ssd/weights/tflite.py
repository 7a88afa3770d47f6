"""Weights in the files of TensorFlow Lite, of every number format that its converters write, dequantised.

Field numbers are those of TensorFlow's schema.fbs. The files have no variables, only the constants of operators, with
folded batch norms; a layer is named by its output, the one name that the converters keep.
"""

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssd.modeling.backbone.pretrained import StateDict
from ssd.utils.errors import CheckpointError
from ssd.weights.formats.reading import CheckpointContent

_IDENTIFIER = b"TFL3"  # from byte 4 on
_DTYPES = {0: "<f4", 1: "<f2", 2: "<i4", 3: "u1", 9: "i1"}
_CONV, _DEPTHWISE_CONV, _DEQUANTIZE = 3, 4, 6  # builtin operators
_DETECTION = "TFLite_Detection_PostProcess"  # a custom operator, whose third input are the priors
# Ends of the name of an output: the last of the operations that were joined to a layer.
_OPERATIONS = re.compile(
    r"(/Relu6?|/BatchNorm.*|/FusedBatchNorm\w*|/BiasAdd(_\d+)?|/Conv2D|(?<=depthwise)/depthwise"
    r"|/separable_conv2d(_\d+)?(/depthwise)?)\d*$"
)


def read(path: Path, source: str) -> CheckpointContent:
    """Read a .tflite file; facts on its input and priors are its content.

    Weights are ``LAYER/weights`` (h, w, I, O), ``LAYER/depthwise_weights`` (h, w, C, 1) and ``LAYER/biases``; the
    content has "input_size" (height, width), "input_mean" and "input_std" of pixels from 0 to 255 if the input is
    quantised, and "anchors" (P, 4) as y, x, h, w if the file has them.
    """
    data = path.read_bytes()
    if data[4:8] != _IDENTIFIER:
        raise CheckpointError(f"{source}: not a TensorFlow Lite file, whose bytes 5 to 8 are TFL3")
    try:
        weights, facts = _Model(data).read()
    except (struct.error, ValueError, LookupError, OverflowError) as error:
        raise CheckpointError(f"{source}: damaged or unknown TensorFlow Lite file ({error}); fetch it again") from error
    if not weights:
        raise CheckpointError(f"{source}: a TensorFlow Lite file without convolutions")
    return CheckpointContent(source, weights, facts)


class _Model:
    """The first subgraph of a file."""

    def __init__(self, data: bytes):
        model = _Table(data, _number(data, 0, "<I"))
        graph = model.tables(2)[0]
        self.tensors = graph.tables(0)
        self.buffers = model.tables(4)
        self.codes = [max(code.number(0, "<b"), code.number(3, "<i")) for code in model.tables(1)]
        self.custom_codes = [code.text(1) for code in model.tables(1)]
        self.operators = graph.tables(3)
        self.input = self.tensors[graph.array(1, "<i4")[0]]
        self.room = len(data)  # bytes of constants; tensors that share a buffer could ask for more
        self.constants: dict[int, np.ndarray] = {}  # by tensor; levels may share them

    def read(self) -> tuple[StateDict, dict[str, Any]]:
        stored: dict[int, int] = {}  # output of DEQUANTIZE -> its input, for float16
        weights: StateDict = {}
        facts: dict[str, Any] = self._input_facts()
        for operator in self.operators:
            index = operator.number(0, "<I")
            code, inputs = self.codes[index], [int(place) for place in operator.array(1, "<i4")]
            output = int(operator.array(2, "<i4")[0])
            if code == _DEQUANTIZE:
                stored[output] = inputs[0]
            elif code in (_CONV, _DEPTHWISE_CONV):
                constants = [self._constant(stored.get(place, place)) for place in inputs[1:] if place >= 0]
                name = layer_name(self.tensors[output].text(3))
                weights |= _layer(name, constants, is_depthwise=code == _DEPTHWISE_CONV)
            elif self.custom_codes[index] == _DETECTION:
                facts["anchors"] = torch.from_numpy(self._constant(stored.get(inputs[2], inputs[2])))
        return weights, facts

    def _constant(self, index: int) -> np.ndarray:
        """Return the value of a tensor, dequantised."""
        if index < 0:
            raise ValueError("an operator lacks an input")
        if index not in self.constants:
            self.constants[index] = self._read_constant(index)
        return self.constants[index]

    def _read_constant(self, index: int) -> np.ndarray:
        """Read the value of a tensor: scale * (number - zero point)."""
        tensor = self.tensors[index]
        name, kind = tensor.text(3), tensor.number(1, "<b")
        if kind not in _DTYPES or tensor.table(6) is not None:
            raise ValueError(f"tensor {name} is sparse or of type {kind}, which this library does not read")
        values = self.buffers[tensor.number(2, "<I")].array(0, "u1").view(_DTYPES[kind])
        self.room -= values.nbytes
        if self.room < 0:
            raise ValueError("its tensors are larger than the file")
        values = values.reshape(tensor.array(0, "<i4"))
        if kind in (0, 1):
            return values.copy()
        scale, zero, axis = _quantization(tensor)
        if not len(scale):
            raise ValueError(f"tensor {name} has no scale")
        shape = [1] * values.ndim
        if len(scale) > 1:
            shape[axis] = len(scale)
        return (values.astype(np.float32) - zero.reshape(shape)) * scale.reshape(shape)

    def _input_facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"input_size": tuple(self.input.array(0, "<i4").tolist()[1:3])}
        kind = self.input.number(1, "<b")
        scale, zero, _ = _quantization(self.input)
        if kind in (3, 9) and len(scale) == 1 and scale[0] > 0:
            facts["input_std"] = 1 / float(scale[0])
            facts["input_mean"] = float(zero[0]) + (128 if kind == 9 else 0)  # int8 is the pixel less 128
        return facts


def _quantization(tensor: "_Table") -> tuple[np.ndarray, np.ndarray, int]:
    """Return the scales and zero points (float32) of a tensor, and the axis along which they differ."""
    table = tensor.table(4)
    if table is None:
        return np.zeros(0, np.float32), np.zeros(0, np.float32), 0
    scale, zero = table.array(2, "<f4"), table.array(3, "<i8").astype(np.float32)
    return scale, zero if len(zero) == len(scale) else np.zeros_like(scale), table.number(6, "<i")


def layer_name(output: str) -> str:
    """Return the name of the layer that has an output; of names joined by ";", the first is its own."""
    name = output.split(";")[0]
    while (shorter := _OPERATIONS.sub("", name)) != name:
        name = shorter
    return name


def _layer(name: str, constants: list[np.ndarray], *, is_depthwise: bool) -> StateDict:
    """Return the tensors of a convolution in TensorFlow's layout: stored as (O, h, w, I), depthwise (1, h, w, C)."""
    weight = torch.from_numpy(constants[0])
    if weight.ndim != 4:
        raise ValueError(f"the weight of {name} has {weight.ndim} dimensions")
    kind = "depthwise_weights" if is_depthwise else "weights"
    layer = {f"{name}/{kind}": weight.permute(1, 2, 3, 0)}
    if len(constants) > 1:
        layer[f"{name}/biases"] = torch.from_numpy(constants[1])
    return layer


class _Table:
    """Table of a flatbuffer (https://flatbuffers.dev/internals), read without a schema compiler.

    It is a position in the file; its vtable has the place of each of its fields, and a missing field has its default.
    ``struct.error`` or ``ValueError`` mean that it points outside the file.
    """

    def __init__(self, data: bytes, position: int):
        self.data = data
        self.position = position
        self.vtable = position - _number(data, position, "<i")
        self.size = _number(data, self.vtable, "<H")

    def number(self, field: int, layout: str) -> int:
        """Return a number whose ``layout`` is a format of ``struct``; 0 if it is missing."""
        place = self._place(field)
        return 0 if place is None else _number(self.data, place, layout)

    def table(self, field: int) -> "_Table | None":
        place = self._place(field)
        return None if place is None else _Table(self.data, place + _number(self.data, place, "<I"))

    def tables(self, field: int) -> list["_Table"]:
        start, count = self._vector(field, 4)
        places = range(start, start + 4 * count, 4)
        return [_Table(self.data, place + _number(self.data, place, "<I")) for place in places]

    def array(self, field: int, dtype: Any) -> np.ndarray:
        dtype = np.dtype(dtype)
        start, count = self._vector(field, dtype.itemsize)
        return np.frombuffer(self.data, dtype, count, start) if count else np.zeros(0, dtype)

    def text(self, field: int) -> str:
        return self.array(field, np.uint8).tobytes().decode("utf-8", "replace")

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        offset = _number(self.data, self.vtable + entry, "<H") if entry < self.size else 0
        return self.position + offset if offset else None

    def _vector(self, field: int, item_size: int) -> tuple[int, int]:
        """Return the first place and the number of the items of a list."""
        place = self._place(field)
        if place is None:
            return 0, 0
        start = place + _number(self.data, place, "<I")
        count = _number(self.data, start, "<I")
        if start + 4 + count * item_size > len(self.data):
            raise ValueError(f"a list of {count} items ends behind the end of the file")
        return start + 4, count


def _number(data: bytes, place: int, layout: str) -> int:
    if place < 0:  # struct counts such places from the end
        raise ValueError("a reference points in front of the file")
    value: int = struct.unpack_from(layout, data, place)[0]
    return value
