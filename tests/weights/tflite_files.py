"""Small TensorFlow Lite files, written by Google's own package for flatbuffers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

flatbuffers = pytest.importorskip("flatbuffers")

TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int8": 9}
Fields = Mapping[int, Any]  # of a table: tables, lists of tables, arrays, texts, and ("Int32", number)


def tensor(name: str, values: np.ndarray | None = None, scale: Sequence[float] = (), **options: Any) -> Fields:
    """A tensor, a constant if it has values; options are zero, axis, shape, dtype and sparse."""
    shape, dtype = (values.shape, values.dtype.name) if values is not None else ((), "float32")
    shape, dtype = options.get("shape", shape), options.get("dtype", dtype)
    fields: dict[int, Any] = {0: np.array(shape, np.int32), 1: ("Int8", TYPES[dtype]), 3: name, "values": values}
    if scale:
        zero = np.array(options.get("zero", [0] * len(scale)), np.int64)
        fields[4] = {2: np.array(scale, np.float32), 3: zero, 6: ("Int32", options.get("axis", 0))}
    return {**fields, 6: {}} if options.get("sparse") else fields


def write_model(tensors: Sequence[Fields], operators: Sequence[tuple[int | str, Sequence[int], int]]) -> bytes:
    """Tensors, of which the first is the input, and operators: code or name of a custom one, inputs and output."""
    codes = list(dict.fromkeys(code for code, _, _ in operators))
    constants = {
        id(one["values"]): one["values"] for one in tensors if one["values"] is not None
    }  # one array, one buffer
    places = {key: place for place, key in enumerate(constants, start=1)}
    graph = {
        0: [
            {
                **{key: value for key, value in one.items() if key != "values"},
                2: ("Uint32", places.get(id(one["values"]), 0)),
            }
            for one in tensors
        ],
        1: np.array([0], np.int32),
        3: [
            {0: ("Uint32", codes.index(code)), 1: np.array(inputs, np.int32), 2: np.array([output], np.int32)}
            for code, inputs, output in operators
        ],
    }
    kinds = [{3: ("Int32", 32), 1: code} if isinstance(code, str) else {3: ("Int32", code)} for code in codes]
    buffers = [{}, *({0: values.reshape(-1).view(np.uint8)} for values in constants.values())]
    builder = flatbuffers.Builder(0)
    builder.Finish(encode(builder, {1: kinds, 2: [graph], 4: buffers}), b"TFL3")
    return bytes(builder.Output())


def encode(builder: Any, value: Any) -> Any:
    """Write a value and what it refers to; return its place, or the pair of a number."""
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, list):
        places = [encode(builder, one) for one in value]
        builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            builder.PrependUOffsetTRelative(place)
        return builder.EndVector()
    if isinstance(value, tuple):
        return value
    fields = {field: encode(builder, one) for field, one in value.items()}
    builder.StartObject(8)
    for field, place in fields.items():
        kind, number = place if isinstance(place, tuple) else ("UOffsetTRelative", place)
        getattr(builder, f"Prepend{kind}Slot")(field, number, 0)
    return builder.EndObject()
