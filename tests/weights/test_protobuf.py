"""The wire format of protocol buffers: the examples of its documentation, and an independent parser."""

import numpy as np
import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from ssd.utils.errors import CheckpointError
from ssd.weights.protobuf import floats, ints, messages, parse, text


def test_examples_of_the_documentation() -> None:
    assert parse(b"\x08\x96\x01") == {1: [150]}
    assert text(parse(b"\x12\x07testing"), 2) == "testing"
    (inner,) = messages(parse(b"\x1a\x03\x08\x96\x01"), 3)
    assert ints(inner, 1) == [150]
    assert ints(parse(b"\x32\x06\x03\x8e\x02\x9e\xa7\x05"), 6) == [3, 270, 86942]  # packed
    assert ints(parse(b"\x08" + b"\xfe" + b"\xff" * 8 + b"\x01"), 1) == [-2]
    assert text(parse(b""), 5) == ""


def test_floats_packed_or_not() -> None:
    numbers = np.array([1, -2.5, 3e8], "<f4")
    packed = b"\x2a\x0c" + numbers.tobytes()
    single = b"".join(b"\x2d" + number.tobytes() for number in numbers)
    for data in (packed, single):
        np.testing.assert_array_equal(floats(parse(data), 5), numbers)


@given(st.dictionaries(st.text(), st.floats(allow_nan=False)))
def test_agrees_with_protobuf(values: dict[str, float]) -> None:
    struct = Struct()
    struct.update(values)
    entries = messages(parse(struct.SerializeToString()), 1)  # a map is a list of (key 1, value 2)
    found = {text(entry, 1): floats(next(messages(entry, 2)), 2, "<f8").item() for entry in entries}
    assert found == values


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x08", "cut off"),
        (b"\x08\x80", "cut off"),
        (b"\x08" + b"\x80" * 10, "ten bytes"),
        (b"\x12\xff\xff\xff\xff\x7f" + b"a" * 9, r"34359738367 bytes has 9"),
        (b"\x0b", "wire type 3"),
        (b"\x2d\x00\x00", "4 bytes has 2"),
    ],
)
def test_damage(data: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        parse(data)


def test_a_field_of_another_kind() -> None:
    for read in (text, floats, lambda fields, number: list(messages(fields, number))):
        with pytest.raises(CheckpointError, match="field 1 has the number 5"):
            read(parse(b"\x08\x05"), 1)
    with pytest.raises(CheckpointError, match="no whole numbers"):
        floats(parse(b"\x0a\x03abc"), 1)
