"""Checkpoints and frozen graphs of TensorFlow, written here as its documents say; and damaged ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto import graph_pb2

from ssd.utils.errors import CheckpointError
from ssd.weights.formats.reading import read_weights
from tests.fuzz.mutations import damaged
from tests.weights.formats.caffemodel import field, varint

FLOAT, INT64, HALF = 1, 9, 19
TYPES = {"float32": FLOAT, "int64": INT64, "float16": HALF}
RNG = np.random.default_rng(0)
TENSORS = {
    "model/conv/kernel": RNG.normal(size=(3, 3, 2, 4)).astype(np.float32),
    "model/conv/moving_mean": RNG.normal(size=4).astype(np.float32),
    "model/conv_1/kernel": RNG.normal(size=(1, 1, 4, 2)).astype(np.float16),
    "save_counter": np.array(7),
}


def message(fields: Mapping[int, Any]) -> bytes:
    """Encode numbers, and bytes or messages (protobuf.dev, "Encoding")."""
    parts = []
    for number, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            parts.append(field(number, message(one) if isinstance(one, dict) else one))
    return b"".join(parts)


def block(entries: Mapping[bytes, bytes]) -> bytes:
    """Encode a block of a LevelDB table, with its type and checksum: each key without what it shares with the last."""
    data, last = b"", b""
    for key, value in entries.items():
        shared = next((n for n, (a, b) in enumerate(zip(key, last, strict=False)) if a != b), min(len(key), len(last)))
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return data + (0).to_bytes(4, "little") + (1).to_bytes(4, "little") + b"\0" + b"crc."


def write_checkpoint(folder: Path, tensors: Mapping[str, np.ndarray] = TENSORS, **changes: Any) -> Path:
    """Write ckpt-3 in two data files, and return its index; ``changes`` are fields of the first entry."""
    data, entries = [b"", b""], {b"": message({1: 2})}
    for place, (name, value) in enumerate(sorted(tensors.items())):
        shard = place % 2
        shape = {2: [{1: size} for size in value.shape]}
        fields = {1: TYPES[value.dtype.name], 2: shape, 3: shard, 4: len(data[shard]), 5: value.nbytes}
        fields |= {int(name[1:]): number for name, number in changes.items()} if place == 0 else {}
        entries[name.encode()] = message(fields)
        data[shard] += value.tobytes()
    for shard, content in enumerate(data):
        (folder / f"ckpt-3.data-0000{shard}-of-00002").write_bytes(content)
    keys = sorted(entries)
    parts = [block({key: entries[key] for key in part}) for part in (keys[:2], keys[2:])]
    handles = {b"m": varint(0) + varint(len(parts[0]) - 5), b"z": varint(len(parts[0])) + varint(len(parts[1]) - 5)}
    table, index = b"".join(parts), block(handles)
    footer = varint(0) + varint(0) + varint(len(table)) + varint(len(index) - 5)
    path = folder / "ckpt-3.index"
    path.write_bytes(table + index + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db"))
    return path


def check(weights: Mapping[str, Any]) -> None:
    assert weights.keys() == {name for name in TENSORS if name != "save_counter"}
    for name, value in weights.items():
        np.testing.assert_array_equal(value, TENSORS[name])


def test_a_checkpoint_is_read_by_its_index_its_prefix_or_its_folder(tmp_path: Path) -> None:
    index = write_checkpoint(tmp_path)
    for source in (index, index.with_suffix(""), tmp_path):
        check(read_weights(str(source)).weights)
    saved = tmp_path / "saved_model" / "variables"
    saved.mkdir(parents=True)
    for path in list(tmp_path.glob("ckpt-3*")):
        path.rename(saved / path.name.replace("ckpt-3", "variables"))
    (saved.parent / "saved_model.pb").write_bytes(b"")
    for source in (tmp_path, saved.parent, saved.parent / "saved_model.pb"):
        check(read_weights(str(source)).weights)


def test_the_input_size_is_that_of_the_config_beside_it(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    index = str(write_checkpoint(tmp_path / "checkpoint"))
    assert read_weights(index).content == {}
    config = "model { ssd { image_resizer { fixed_shape_resizer { height: 480 width: 640 } } } }"
    (tmp_path / "pipeline.config").write_text(config)
    assert read_weights(index).content == {"input_size": (480, 640)}
    (tmp_path / "pipeline.config").write_text("keep_aspect_ratio_resizer { min_dimension: 640 }")
    assert read_weights(index).content == {}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"f5": 8}, "model/conv/kernel has 8 bytes"),
        ({"f4": 10**6}, "model/conv/kernel ends behind"),
        ({"f3": 5}, "model/conv/kernel ends behind"),
        ({"f7": {1: 0}}, "model/conv/kernel is stored in slices"),
    ],
)
def test_what_cannot_be_read_is_named(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"ckpt-3\.index.*{reason}"):
        read_weights(str(write_checkpoint(tmp_path, **changes)))


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    index = write_checkpoint(tmp_path)
    (tmp_path / "ckpt-3.data-00001-of-00002").unlink()
    with pytest.raises(CheckpointError, match=r"ckpt-3\.data-00001-of-00002 is missing"):
        read_weights(str(index))


def make_graph() -> graph_pb2.GraphDef:
    """Numbers as bytes, one by one, and as one for all."""
    graph = graph_pb2.GraphDef()
    for name, value in TENSORS.items():
        node = graph.node.add(name=name, op="Const")
        tensor = node.attr["value"].tensor
        tensor.dtype = TYPES[value.dtype.name]
        for size in value.shape:
            tensor.tensor_shape.dim.add(size=size)
        if value.ndim == 1:
            tensor.float_val.extend(value)
        elif value.dtype == np.float16:
            tensor.half_val.extend(value.view(np.uint16).ravel().tolist())
        else:
            tensor.tensor_content = value.tobytes()
    graph.node.add(name="conv", op="Conv2D").input.extend(["image", "model/conv/kernel"])
    return graph


def test_a_frozen_graph_is_read_by_its_constants(tmp_path: Path) -> None:
    graph, path = make_graph(), tmp_path / "frozen_inference_graph.pb"
    path.write_bytes(graph.SerializeToString())
    check(read_weights(str(path)).weights)
    tensor = graph.node[1].attr["value"].tensor
    tensor.ClearField("float_val")
    tensor.float_val.append(2.5)
    path.write_bytes(graph.SerializeToString())
    assert read_weights(str(path)).weights["model/conv/moving_mean"].tolist() == [2.5] * 4
    tensor.tensor_shape.dim[0].size = 10**9
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(CheckpointError, match="larger than the file"):
        read_weights(str(path))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.booleans())
def test_a_damaged_file_loads_or_is_refused(tmp_path: Path, drawn: st.DataObject, is_graph: bool) -> None:
    path = write_checkpoint(tmp_path)
    data = drawn.draw(damaged(make_graph().SerializeToString() if is_graph else path.read_bytes()))
    path = tmp_path / "a.pb" if is_graph else path
    path.write_bytes(data)
    try:
        weights = read_weights(str(path)).weights
    except CheckpointError as error:
        assert path.name in str(error)  # noqa: PT017  # some damage is beside what is read
    else:
        assert all(value.nbytes < 4 * len(data) + 1000 for value in weights.values())
