import argparse
import errno
import io
import json
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from yacs.config import CfgNode

from ssd.utils.checkpoint_file import (
    check_records,
    read_checkpoint,
    require_safetensors,
    save_to,
    write_checkpoint,
    write_weights,
)
from ssd.utils.errors import CheckpointError, MissingPackageError

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


def test_round_trip_of_every_allowed_type(tmp_path: Path) -> None:
    extra = {"iteration": 7, "lr": 0.5, "name": "ssd", "done": True, "none": None, "list": [1, ("a", {2: "b"})]}
    write_checkpoint(tmp_path / "a.pth", {"model": WEIGHTS, **extra, "rng": torch.get_rng_state()})
    read = read_checkpoint(tmp_path / "a.pth")
    assert {key: read[key] for key in extra} == extra
    torch.testing.assert_close(read["model"], WEIGHTS)
    assert torch.equal(read["rng"], torch.get_rng_state())


@pytest.mark.parametrize(
    ("value", "key_path", "type_name"),
    [
        ({"metrics": {"mAP": np.float64(0.5)}}, "extra.metrics.mAP", "numpy.float64"),
        ([1, np.int64(3)], r"extra\[1\]", "numpy.int64"),
        (np.zeros(3), "extra", "numpy.ndarray"),
        ({"path": Path("a")}, "extra.path", "pathlib"),
        (CfgNode({"A": 1}), "extra", "yacs.config.CfgNode"),
        ({(1, 2): 3}, "extra", "builtins.tuple"),
        ({1, 2}, "extra", "builtins.set"),
    ],
)
def test_other_types_are_refused_by_key_path(tmp_path: Path, value: object, key_path: str, type_name: str) -> None:
    with pytest.raises(TypeError, match=f"'{key_path}'.*{type_name}"):
        write_checkpoint(tmp_path / "a.pth", {"model": WEIGHTS, "extra": value})
    assert list(tmp_path.iterdir()) == []


def test_state_of_torch_schedulers_is_plain(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
    state = {"model": WEIGHTS, "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    write_checkpoint(tmp_path / "a.pth", state)
    assert read_checkpoint(tmp_path / "a.pth")["scheduler"] == scheduler.state_dict()


def test_bare_weights_are_wrapped(tmp_path: Path) -> None:
    torch.save(OrderedDict(WEIGHTS), tmp_path / "a.pth")
    read = read_checkpoint(tmp_path / "a.pth")
    assert read.keys() == {"model"}
    torch.testing.assert_close(read["model"], WEIGHTS)


def test_prefix_of_data_parallel_is_stripped(tmp_path: Path) -> None:
    torch.save({"model": {f"module.{name}": value for name, value in WEIGHTS.items()}}, tmp_path / "a.pth")
    assert list(read_checkpoint(tmp_path / "a.pth")["model"]) == list(WEIGHTS)


def test_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "model_final.pth")
    with pytest.raises(CheckpointError, match=r"model_fianl\.pth.* model_final\.pth"):
        read_checkpoint(tmp_path / "model_fianl.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        read_checkpoint(tmp_path / "nowhere" / "a.pth")
    with pytest.raises(CheckpointError, match="folder"):
        read_checkpoint(tmp_path)


def test_pickled_objects_are_named_and_never_executed(tmp_path: Path) -> None:
    torch.save({"model": WEIGHTS, "args": argparse.Namespace(lr=1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: .*argparse\.Namespace"):
        read_checkpoint(tmp_path / "a.pth")

    class Touch:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "executed",)

    torch.save({"model": WEIGHTS, "trap": Touch()}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match=r"b\.pth"):
        read_checkpoint(tmp_path / "b.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ({"state_dict": WEIGHTS, "epoch": 3}, "its keys are state_dict, epoch"),
        ({}, r"its keys are \(none\)"),
        ({"model": {}}, "its keys are model"),
        ({"model": {"a": 1}}, "its keys are model"),
        ([1, 2], "holds a list"),
    ],
)
def test_files_without_weights(tmp_path: Path, content: object, cause: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=cause):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("kept", [0, 1, 4, 100, 0.5, 0.9, 0.999])
def test_truncated_file(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "a.pth"
    torch.save({"model": WEIGHTS}, path)
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(len(data) * kept)])
    with pytest.raises(CheckpointError, match=r"a\.pth: "):
        read_checkpoint(path)


PICKLE_HEADS = [b"", b"\x80\x02", b"\x80\x04\x95", b"PK\x03\x04", pickle.dumps({"a": [1]}), pickle.dumps(2**70)]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=st.sampled_from(PICKLE_HEADS), tail=st.binary(max_size=60))
def test_no_content_whatever_gives_another_error(tmp_path: Path, head: bytes, tail: bytes) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(head + tail)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


class FullFile(io.RawIOBase):
    """Takes some writes, then raises."""

    def __init__(self, num_writes: int, error: BaseException):
        self.num_writes, self.error = num_writes, error

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.num_writes -= 1
        if self.num_writes < 0:
            raise self.error
        return len(data)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("num_writes", [0, 1, 4, 7])
def test_what_ends_a_write_is_raised_not_what_torch_makes_of_it(num_writes: int, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        save_to(FullFile(num_writes, error), {"model": WEIGHTS})
    assert caught.value is error


def test_other_errors_of_torch_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such storage")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(RuntimeError, match="no such storage"):
        write_checkpoint(tmp_path / "a.pth", {"model": WEIGHTS})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n<!DOCTYPE html>\n<html><title>Quota exceeded</title>", "web page"),
        ("<HTML><body>", "web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
    ],
)
def test_what_downloads_leave_instead_is_named(text: str, message: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


CHECKPOINT = {"model": {"a": torch.arange(40.0), "b": torch.ones(3)}, "iteration": 7, "config": "X: 1"}


def equal(left: dict, right: dict) -> bool:
    tensors = all(torch.equal(left["model"][name], right["model"][name]) for name in "ab")
    return tensors and {**left, "model": 0} == {**right, "model": 0}


def test_no_changed_byte_gives_other_content(tmp_path: Path) -> None:
    """Each byte of the file in turn: it is noticed, or lies between the records and means nothing."""
    path = tmp_path / "a.pth"
    write_checkpoint(path, CHECKPOINT)
    whole = path.read_bytes()
    first, last = (whole.index(CHECKPOINT["model"][name].numpy().tobytes()) for name in "ab")
    noticed = set()
    for position in range(len(whole)):
        mask = (0x01, 0x10, 0xFF)[position % 3]
        path.write_bytes(whole[:position] + bytes([whole[position] ^ mask]) + whole[position + 1 :])
        try:
            assert equal(read_checkpoint(path), CHECKPOINT), position
        except CheckpointError:
            noticed.add(position)
    assert noticed >= {*range(first, first + 160), *range(last, last + 12)}


def test_torch_itself_looks_at_no_checksum(tmp_path: Path) -> None:
    """Should it begin to, ours are needed no more."""
    path = tmp_path / "a.pth"
    write_checkpoint(path, CHECKPOINT)
    data = bytearray(path.read_bytes())
    data[data.index(CHECKPOINT["model"]["a"].numpy().tobytes()) + 5] ^= 1
    path.write_bytes(data)
    assert not torch.equal(torch.load(path)["model"]["a"], CHECKPOINT["model"]["a"])
    with pytest.raises(CheckpointError, match=r"a\.pth: .*checksum.* a\S*/data/0 "):
        read_checkpoint(path)


def test_files_without_checksums_are_read(tmp_path: Path) -> None:
    """The format before PyTorch 1.6, as lufficc/SSD's releases have it, and checksums that were switched off."""
    torch.save(CHECKPOINT, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(tmp_path / "old.pth")
    assert equal(read_checkpoint(tmp_path / "old.pth"), CHECKPOINT)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(CHECKPOINT, tmp_path / "off.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert zipfile.ZipFile(tmp_path / "off.pth").testzip() is not None
    assert equal(read_checkpoint(tmp_path / "off.pth"), CHECKPOINT)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """A file of 260 kB would fill 256 MB."""
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb/data.pkl", "w") as record:
        for _ in range(256):
            record.write(bytes(2**20))
    assert path.stat().st_size < 2**19
    with pytest.raises(CheckpointError, match=r"bomb\.pth"):
        read_checkpoint(path)


def test_records_do_not_overlap(tmp_path: Path) -> None:
    """Many names for one record would be as many copies of it in memory."""
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data/0", bytes(10000))
        for number in range(1, 50):
            info = zipfile.ZipInfo(f"a/data/{number}")
            info.file_size = info.compress_size = 10000
            info.CRC, info.header_offset = archive.infolist()[0].CRC, 0
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        check_records(path, "a.pth")


MIXED = {"conv.weight": torch.randn(4, 3, 3, 3), "norm.num_batches_tracked": torch.tensor(7)}


def test_other_tools_read_it(tmp_path: Path) -> None:
    """Also when the weights lie in memory as training keeps them."""
    weights = {
        name: value.to(memory_format=torch.channels_last) if value.dim() == 4 else value
        for name, value in MIXED.items()
    }
    write_weights(tmp_path / "a.safetensors", weights, ["__background__", "cell"])
    torch.testing.assert_close(load_file(tmp_path / "a.safetensors"), MIXED, rtol=0, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_it_is_a_checkpoint(tmp_path: Path) -> None:
    write_weights(tmp_path / "a.safetensors", MIXED, ["__background__", "cell"])
    read = read_checkpoint(tmp_path / "a.safetensors")
    torch.testing.assert_close(read.pop("model"), MIXED, rtol=0, atol=0)
    assert read == {"class_names": ["__background__", "cell"]}


def test_files_of_other_tools(tmp_path: Path) -> None:
    save_file({f"module.{name}": value for name, value in MIXED.items()}, tmp_path / "a.safetensors")
    read = read_checkpoint(tmp_path / "a.safetensors")
    assert read.keys() == {"model"}
    torch.testing.assert_close(read["model"], MIXED, rtol=0, atol=0)


@pytest.mark.parametrize("kept", [0, 3, 8, 60, -1])
def test_truncated(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.safetensors"
    write_weights(path, MIXED)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"a\.safetensors: "):
        read_checkpoint(path)


@pytest.mark.parametrize("names", ["[", "3", '{"a": 1}', "[1]", "[" * 99999], ids=["open", "3", "map", "int", "deep"])
def test_class_names_that_are_none(tmp_path: Path, names: str) -> None:
    header = json.dumps(
        {"__metadata__": {"class_names": names}, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    ).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(CheckpointError, match=r"a\.safetensors: "):
        read_checkpoint(tmp_path / "a.safetensors")


def test_the_package_is_named_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_weights(tmp_path / "a.safetensors", MIXED)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(MissingPackageError, match=r"\[safetensors\]"):
        require_safetensors()
    with pytest.raises(MissingPackageError):
        read_checkpoint(tmp_path / "a.safetensors")
