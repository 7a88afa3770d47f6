import argparse
import errno
import io
import pickle
from collections import OrderedDict
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from yacs.config import CfgNode

from ssd.utils import checkpoint_file
from ssd.utils.checkpoint_file import read_checkpoint, write_checkpoint
from ssd.utils.errors import CheckpointError

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
    with pytest.raises(CheckpointError, match=r"model_fianl\.pth' does not exist; in .* there are model_final\.pth"):
        read_checkpoint(tmp_path / "model_fianl.pth")
    with pytest.raises(CheckpointError, match=r"does not exist$"):
        read_checkpoint(tmp_path / "nowhere" / "a.pth")
    with pytest.raises(CheckpointError, match="is a folder, where a checkpoint is a file"):
        read_checkpoint(tmp_path)


def test_pickled_objects_are_named_and_never_executed(tmp_path: Path) -> None:
    torch.save({"model": WEIGHTS, "args": argparse.Namespace(lr=1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: holds a Python object \(argparse\.Namespace\)"):
        read_checkpoint(tmp_path / "a.pth")

    class Touch:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "executed",)

    torch.save({"model": WEIGHTS, "trap": Touch()}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="could execute"):
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
def test_what_ends_a_write_is_raised_not_what_torch_makes_of_it(
    num_writes: int, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_file, "atomic_write", lambda _: nullcontext(FullFile(num_writes, error)))
    with pytest.raises(type(error)) as caught:
        write_checkpoint(tmp_path / "a.pth", {"model": WEIGHTS})
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
        ("\n<!DOCTYPE html>\n<html><title>Quota exceeded</title>", "not a checkpoint, but a web page"),
        ("<HTML><body>", "not a checkpoint, but a web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0", "not a checkpoint, but a pointer of Git LFS"),
    ],
)
def test_what_downloads_leave_instead_is_named(text: str, message: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)
