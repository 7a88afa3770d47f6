import json
import struct
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ssd.utils.checkpoint_file import read_checkpoint, require_safetensors, write_weights
from ssd.utils.errors import CheckpointError, MissingPackageError

WEIGHTS = {"conv.weight": torch.randn(4, 3, 3, 3), "norm.num_batches_tracked": torch.tensor(7)}


def test_other_tools_read_it(tmp_path: Path) -> None:
    """Also when the weights lie in memory as training keeps them."""
    weights = {
        name: value.to(memory_format=torch.channels_last) if value.dim() == 4 else value
        for name, value in WEIGHTS.items()
    }
    write_weights(tmp_path / "a.safetensors", weights, ["__background__", "cell"])
    torch.testing.assert_close(load_file(tmp_path / "a.safetensors"), WEIGHTS, rtol=0, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_it_is_a_checkpoint(tmp_path: Path) -> None:
    write_weights(tmp_path / "a.safetensors", WEIGHTS, ["__background__", "cell"])
    read = read_checkpoint(tmp_path / "a.safetensors")
    torch.testing.assert_close(read.pop("model"), WEIGHTS, rtol=0, atol=0)
    assert read == {"class_names": ["__background__", "cell"]}


def test_files_of_other_tools(tmp_path: Path) -> None:
    save_file({f"module.{name}": value for name, value in WEIGHTS.items()}, tmp_path / "a.safetensors")
    read = read_checkpoint(tmp_path / "a.safetensors")
    assert read.keys() == {"model"}
    torch.testing.assert_close(read["model"], WEIGHTS, rtol=0, atol=0)


@pytest.mark.parametrize("kept", [0, 3, 8, 60, -1])
def test_truncated(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.safetensors"
    write_weights(path, WEIGHTS)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"a\.safetensors: damaged, truncated, or no safetensors file"):
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
    write_weights(tmp_path / "a.safetensors", WEIGHTS)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(MissingPackageError, match=r"-e '\.\[safetensors\]'"):
        require_safetensors()
    with pytest.raises(MissingPackageError):
        read_checkpoint(tmp_path / "a.safetensors")
