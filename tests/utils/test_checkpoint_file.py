import argparse
import json
import pickle
import resource
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from yacs.config import CfgNode

from ssd.utils.checkpoint_file import load_model_weights, read_checkpoint, write_checkpoint, write_weights
from ssd.utils.errors import CheckpointError, MissingPackageError
from tests.utils.small_net import Net, weights_of

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


def test_round_trip_of_every_allowed_type(tmp_path: Path) -> None:
    extra = {"iteration": 7, "lr": 0.5, "name": "ssd", "done": True, "none": None, "list": [1, ("a", {2: "b"})]}
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1, momentum=0.9)
    extra["scheduler"] = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4]).state_dict()
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
        (CfgNode({"A": 1}), "extra", "yacs.config.CfgNode"),
        ({(1, 2): 3}, "extra", "tuple"),
    ],
)
def test_other_types_are_refused_by_key_path(tmp_path: Path, value: object, key_path: str, type_name: str) -> None:
    with pytest.raises(TypeError, match=f"'{key_path}'.*{type_name}"):
        write_checkpoint(tmp_path / "a.pth", {"model": WEIGHTS, "extra": value})
    assert list(tmp_path.iterdir()) == []


def test_bare_weights_are_wrapped_and_prefixes_stripped(tmp_path: Path) -> None:
    torch.save(OrderedDict(WEIGHTS), tmp_path / "a.pth")
    torch.save({"model": {f"module.{name}": value for name, value in WEIGHTS.items()}}, tmp_path / "b.pth")
    for name in ("a.pth", "b.pth"):
        read = read_checkpoint(tmp_path / name)
        assert read.keys() == {"model"}
        torch.testing.assert_close(read["model"], WEIGHTS)


def test_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "model_final.pth")
    with pytest.raises(CheckpointError, match=r"model_fianl\.pth.* model_final\.pth"):
        read_checkpoint(tmp_path / "model_fianl.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        read_checkpoint(tmp_path / "nowhere" / "a.pth")
    assert read_checkpoint(tmp_path)["model"].keys() == WEIGHTS.keys()  # the folder of a run
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="folder"):
        read_checkpoint(tmp_path / "empty")


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
        ({"state_dict": WEIGHTS, "epoch": 3}, "state_dict, epoch"),
        ({}, r"\(none\)"),
        ({"model": {"a": 1}}, "model"),
        ([1, 2], "list"),
    ],
)
def test_files_without_weights(tmp_path: Path, content: object, cause: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=cause):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("kept", [0, 3, 8, 60, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_file(tmp_path: Path, kept: float, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".pth":
        write_checkpoint(path, {"model": WEIGHTS})
    else:
        write_weights(path, WEIGHTS)
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(len(data) * kept)])
    with pytest.raises(CheckpointError, match=rf"a\{suffix}: "):
        read_checkpoint(path)


PICKLE_HEADS = [b"", b"\x80\x02", b"\x80\x04\x95", b"PK\x03\x04", pickle.dumps({"a": [1]}), pickle.dumps(2**70)]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=st.sampled_from(PICKLE_HEADS), tail=st.binary(max_size=60))
def test_no_content_whatever_gives_another_error(tmp_path: Path, head: bytes, tail: bytes) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(head + tail)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


@pytest.mark.parametrize("limit", [0, 100, 600])
def test_the_error_of_a_write_is_raised_not_that_of_torch(tmp_path: Path, limit: int) -> None:
    """A limit of the file's size, in bytes, stands for a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_checkpoint(tmp_path / "a.pth", {"model": {"a": torch.zeros(9999)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("\n<!DOCTYPE html>\n<html><title>Quota exceeded</title>", "web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
    ],
)
def test_texts_that_downloads_leave_are_named(text: str, fact: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=fact):
        read_checkpoint(path)


CHECKPOINT = {"model": {"a": torch.arange(40.0), "b": torch.ones(3)}, "iteration": 7, "config": "X: 1"}


def equal(left: dict, right: dict) -> bool:
    tensors = all(torch.equal(left["model"][name], right["model"][name]) for name in "ab")
    return tensors and {**left, "model": 0} == {**right, "model": 0}


def test_no_changed_byte_gives_other_content(tmp_path: Path) -> None:
    """Each byte of the weights, and every fifth of the rest: noticed, or between the records without a meaning."""
    path = tmp_path / "a.pth"
    write_checkpoint(path, CHECKPOINT)
    whole = path.read_bytes()
    first, last = (whole.index(CHECKPOINT["model"][name].numpy().tobytes()) for name in "ab")
    noticed, weights = set(), {*range(first, first + 160), *range(last, last + 12)}
    for position in sorted(weights | {*range(0, len(whole), 5)}):
        mask = (0x01, 0x10, 0xFF)[position % 3]
        path.write_bytes(whole[:position] + bytes([whole[position] ^ mask]) + whole[position + 1 :])
        if position == first:  # should torch begin to look at checksums, ours are not needed
            assert not torch.equal(torch.load(path)["model"]["a"], CHECKPOINT["model"]["a"])
        try:
            assert equal(read_checkpoint(path), CHECKPOINT), position
        except CheckpointError:
            noticed.add(position)
    assert noticed >= weights


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
    """Neither compressed records, nor many names for one record."""
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(2**24))
    with zipfile.ZipFile(tmp_path / "overlap.pth", "w") as archive:
        archive.writestr("a/data/0", bytes(10000))
        for number in range(1, 50):
            info = zipfile.ZipInfo(f"a/data/{number}")
            info.file_size = info.compress_size = 10000
            info.CRC, info.header_offset = archive.infolist()[0].CRC, 0
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
    for name in ("bomb", "overlap"):
        with pytest.raises(CheckpointError, match=rf"{name}\.pth"):
            read_checkpoint(tmp_path / f"{name}.pth")


def test_safetensors_are_exchanged_with_other_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the weights are in memory as training keeps them."""
    mixed = {"conv.weight": torch.randn(4, 3, 3, 3), "norm.num_batches_tracked": torch.tensor(7)}
    weights = {**mixed, "conv.weight": mixed["conv.weight"].to(memory_format=torch.channels_last)}
    write_weights(tmp_path / "a.safetensors", weights, ["__background__", "cell"])
    torch.testing.assert_close(load_file(tmp_path / "a.safetensors"), mixed, rtol=0, atol=0)
    read = read_checkpoint(tmp_path / "a.safetensors")
    torch.testing.assert_close(read.pop("model"), mixed, rtol=0, atol=0)
    assert read == {"class_names": ["__background__", "cell"]}
    save_file({f"module.{name}": value for name, value in mixed.items()}, tmp_path / "a.safetensors")
    read = read_checkpoint(tmp_path / "a.safetensors")
    assert read.keys() == {"model"}
    torch.testing.assert_close(read["model"], mixed, rtol=0, atol=0)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(MissingPackageError, match=r"\[safetensors\]"):
        read_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize("names", ["[", "3", "[1]"])
def test_class_names_that_are_none(tmp_path: Path, names: str) -> None:
    header = json.dumps(
        {"__metadata__": {"class_names": names}, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    ).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(CheckpointError, match=r"a\.safetensors: "):
        read_checkpoint(tmp_path / "a.safetensors")


def test_a_mismatch_lists_names_and_shapes() -> None:
    weights = weights_of(Net(num_body=1))
    weights["body.0.bias"] = torch.zeros(5)
    weights["stray"] = torch.zeros(())
    with pytest.raises(CheckpointError, match=r"^file\.pth ") as caught:
        load_model_weights(Net(num_body=12), weights, "file.pth")
    _, missing, unexpected, misshapen = str(caught.value).splitlines()
    assert "(22): body.1.weight; body.1.bias; " in missing
    assert missing.count("body.") == 10
    assert "and 12 more" in missing
    assert "(1): stray" in unexpected
    assert "(1): body.0.bias 5, the model has 4" in misshapen


def test_another_class_count_is_recognised() -> None:
    with pytest.raises(CheckpointError, match="NUM_CLASSES") as caught:
        load_model_weights(Net(num_classes=3), weights_of(Net(num_classes=7)), "file.pth")
    assert "predictor.cls_headers.0.weight 7x4, the model has 3x4" in str(caught.value)
