"""Weights in the files of TensorFlow: checkpoints (NAME.index and its data files) and frozen graphs (.pb).

A checkpoint is a tensor bundle: its index is a table of LevelDB (google/leveldb, doc/table_format.md) whose values are
messages of tensor_bundle.proto. A graph is a GraphDef, whose weights are nodes "Const".
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssd.modeling.backbone.pretrained import StateDict
from ssd.utils.errors import CheckpointError
from ssd.weights.formats.reading import CheckpointContent
from ssd.weights.protobuf import Message, floats, ints, messages, parse, read_varint, text

_DTYPES = {1: "<f4", 19: "<f2"}  # types.proto: float and half; all else in the files is no weight
_MAGIC = 0xDB4775248B80FB57  # of LevelDB's tables
_FOOTER_SIZE = 48


def read(path: Path, source: str) -> CheckpointContent:
    """Read NAME.index with its data files, or a frozen graph .pb; tensors keep their names and layouts."""
    index = path.parent / "variables" / "variables.index"
    try:
        if path.suffix == ".index":
            weights = _read_bundle(path)
        elif path.name == "saved_model.pb" and index.is_file():
            weights = _read_bundle(index)
        else:
            weights = _read_graph(path.read_bytes())
    except (CheckpointError, ValueError, IndexError) as error:
        kind = "checkpoint" if path.suffix == ".index" else "graph"
        raise CheckpointError(f"{source}: no {kind} of TensorFlow, or a damaged one: {error}") from error
    if not weights:
        raise CheckpointError(f"{source}: a file of TensorFlow without weights of 16 or 32 bit floats")
    return CheckpointContent(source, weights, _input_size(path))


def _input_size(path: Path) -> dict[str, tuple[int, int]]:
    """Return the "input_size" (height, width) of pipeline.config, next to the file or up to two folders above."""
    for folder in list(path.absolute().parents)[:3]:
        if (folder / "pipeline.config").is_file():
            text = (folder / "pipeline.config").read_text("utf-8", "replace")
            sizes = re.search(r"fixed_shape_resizer\s*\{\s*height:\s*(\d{1,4})\s+width:\s*(\d{1,4})\s", text)
            return {"input_size": (int(sizes[1]), int(sizes[2]))} if sizes else {}
    return {}


def _read_bundle(path: Path) -> StateDict:
    """Read the tensors of a checkpoint by the name of its index."""
    data = path.read_bytes()
    if len(data) < _FOOTER_SIZE or int.from_bytes(data[-8:], "little") != _MAGIC:
        raise CheckpointError("its end is not that of a table of LevelDB")
    footer = memoryview(data)[-_FOOTER_SIZE:]
    (_, _, start, size), _ = _varints(footer, 0, 4)
    entries: dict[str, Message] = {}
    for _, handle in _entries(_block(data, start, size)):
        block, _ = _varints(handle, 0, 2)
        entries |= {str(key, "utf-8", "replace"): parse(value) for key, value in _entries(_block(data, *block))}
    num_shards = _number(entries.pop("", {}), 1)
    names = [f"{path.stem}.data-{shard:05d}-of-{num_shards:05d}" for shard in range(min(num_shards, len(entries)))]
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing or not names:
        raise CheckpointError(f"its data file {', '.join(missing[:1]) or f'{path.stem}.data-*'} is missing next to it")
    shards = [np.memmap(path.parent / name, np.uint8, "r") for name in names]
    room = sum(len(shard) for shard in shards)  # entries that overlap could ask for more
    weights: StateDict = {}
    for name, entry in entries.items():
        if _number(entry, 1) in _DTYPES:
            room -= _number(entry, 5)
            weights[name] = _bundled(name, entry, shards, room)
    return weights


def _bundled(name: str, entry: Message, shards: list[np.memmap], room: int) -> Tensor:
    """Return a tensor of a checkpoint by its BundleEntryProto."""
    shape, shard = _shape(entry, 2), _number(entry, 3)
    start, size, dtype = _number(entry, 4), _number(entry, 5), np.dtype(_DTYPES[_number(entry, 1)])
    if 7 in entry:
        raise CheckpointError(f"{name} is stored in slices, which this library does not read")
    if room < 0 or min(shard, start, size) < 0 or shard >= len(shards) or start + size > len(shards[shard]):
        raise CheckpointError(f"{name} ends behind the data files: they are cut off or of another checkpoint")
    if math.prod(shape) * dtype.itemsize != size:
        raise CheckpointError(f"{name} has {size} bytes, but the shape {shape}")
    return torch.from_numpy(np.array(shards[shard][start : start + size]).view(dtype).reshape(shape))


def _block(data: bytes, start: int, size: int) -> memoryview:
    """Return the entries of a block, without its list of restarts."""
    block = memoryview(data)[start : start + size]
    if len(block) != size or size < 4 or start + size >= len(data):
        raise CheckpointError("a block ends behind the end of the file")
    if data[start + size] != 0:
        raise CheckpointError("its blocks are compressed, which TensorFlow does not write")
    restarts = 4 * int.from_bytes(block[-4:], "little") + 4
    return block[: max(size - restarts, 0)]


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the keys and values of a block; a key begins with a part of the one before it."""
    key, place = b"", 0
    while place < len(block):
        (shared, rest, size), place = _varints(block, place, 3)
        if place + rest + size > len(block):
            raise CheckpointError("an entry ends behind its block")
        key = key[:shared] + bytes(block[place : place + rest])
        yield key, block[place + rest : place + rest + size]
        place += rest + size


def _varints(view: memoryview, place: int, count: int) -> tuple[list[int], int]:
    """Return numbers of seven bits a byte, and the place behind them."""
    values = []
    for _ in range(count):
        value, place = read_varint(view, place)
        values.append(value)
    return values, place


def _read_graph(data: bytes) -> StateDict:
    """Read the constants of a GraphDef that may be kernels (four dimensions) or values of channels (one)."""
    weights: StateDict = {}
    room = len(data)  # numbers; a constant may be one number for a whole shape
    for node in messages(parse(data), 1):
        if text(node, 2) != "Const":
            continue
        attributes = {text(entry, 1): entry for entry in messages(node, 5)}
        for value in messages(attributes.get("value", {}), 2):
            for tensor in messages(value, 8):
                shape, dtype = _shape(tensor, 2), _DTYPES.get(_number(tensor, 1))
                if dtype is None or len(shape) not in (1, 4):
                    continue
                room -= math.prod(shape)
                if room < 0 or min(shape) < 0:
                    raise CheckpointError("its constants are larger than the file")
                weights[text(node, 1)] = _constant(tensor, shape, dtype)
    return weights


def _constant(tensor: Message, shape: list[int], dtype: str) -> Tensor:
    """Return a TensorProto of known shape; its last number stands for all that are left out."""
    if 4 in tensor:
        values = floats(tensor, 4, dtype)
    elif dtype == "<f4":
        values = floats(tensor, 5)
    else:
        values = np.array(ints(tensor, 13), np.uint16).view(dtype)
    count = math.prod(shape)
    if 0 < len(values) < count:
        values = np.concatenate([values, np.full(count - len(values), values[-1])])
    return torch.from_numpy(values.reshape(shape))


def _shape(message: Message, number: int) -> list[int]:
    """Return the sizes in a TensorShapeProto."""
    return [_number(dim, 1) for shape in messages(message, number) for dim in messages(shape, 2)]


def _number(message: Message, number: int) -> int:
    return next(iter(ints(message, number)), 0)
