"""Pickled networks: their weights are found, nothing of them is called, and what does not belong is refused."""

import collections
import os
import sys
import types
from typing import Any

import pytest
import torch
from torch import nn

from ssd.utils.errors import CheckpointError
from ssd.weights.formats.reading import Shell, load_inert, read_weights, state_dict_of


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A network whose class lies in a module `model`, which is gone when the file is read."""
    module = types.ModuleType("model")

    class SSD300(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rescale_factors = nn.Parameter(torch.arange(3.0))
            self.base = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
            self.register_buffer("scratch", torch.zeros(2), persistent=False)
            self.priors = torch.ones(5, 4)  # no weight

    SSD300.__module__, SSD300.__qualname__ = "model", "SSD300"
    module.SSD300 = SSD300  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "model", module)
    return SSD300()


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_the_weights_of_a_pickled_network(is_zip, network, tmp_path, monkeypatch) -> None:
    expected = network.state_dict()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network.base(torch.rand(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    path, whole = tmp_path / "BEST_checkpoint.pth.tar", tmp_path / "model.pth"
    content = {"epoch": 3, "model": network, "optimizer": optimizer}
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    torch.save(network, whole, _use_new_zipfile_serialization=is_zip)
    monkeypatch.delitem(sys.modules, "model")
    found = read_weights(str(path))
    assert list(found.weights) == list(expected) == list(read_weights(str(whole)).weights)
    assert all(torch.equal(found.weights[name], expected[name]) for name in expected)
    assert found.content["epoch"] == 3
    assert isinstance(found.content["model"], Shell)
    assert "model" not in sys.modules


def test_objects_beside_the_weights(tmp_path) -> None:
    weights = collections.OrderedDict(a=torch.ones(2))
    path = tmp_path / "epoch_3.pth"
    torch.save({"state_dict": weights, "optimizer": torch.optim.SGD([torch.zeros(1)], lr=1)}, path)
    assert torch.equal(read_weights(str(path)).weights["a"], weights["a"])


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Any, *args: Any):
        self.call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize(
    ("function", "args", "name"),
    [
        (os.system, ("touch PROOF",), "(posix|nt).system"),
        (eval, ("open('PROOF', 'w')",), "__builtin__.eval"),
        (exec, ("open('PROOF', 'w')",), "__builtin__.exec"),
        (getattr, ("text", "upper"), "__builtin__.getattr"),
        (torch.load, ("PROOF",), "torch.serialization.load"),
    ],
)
def test_calls_are_refused(function, args, name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth"
    torch.save({"model": {"a": torch.ones(1)}, "extra": Calls(function, *args)}, path)
    with pytest.raises(CheckpointError, match=rf"evil\.pth: refused\. .* {name}"):
        read_weights(str(path))
    assert not (tmp_path / "PROOF").exists()


def test_what_looks_like_a_network_is_called_no_more(tmp_path, monkeypatch) -> None:
    called = []
    module = types.ModuleType("models")
    module.Loader = lambda *args: called.append(args)  # type: ignore[attr-defined]
    module.Loader.__module__, module.Loader.__qualname__ = "models", "Loader"
    monkeypatch.setitem(sys.modules, "models", module)
    path = tmp_path / "model.pth"
    torch.save({"model": {"a": torch.ones(1)}, "extra": Calls(module.Loader, "rm -rf")}, path)
    assert list(read_weights(str(path)).weights) == ["a"]
    assert not called


class Recorded(dict):
    """A dictionary of a project's own class."""


@pytest.mark.parametrize("protocol", [1, 2])
def test_settings_in_a_class_of_their_own(protocol, tmp_path, monkeypatch) -> None:
    """Old protocols make objects by copyreg._reconstructor; entries of such a dictionary are dropped."""
    module = types.ModuleType("utils")
    module.Recorded = Recorded  # type: ignore[attr-defined]
    monkeypatch.setattr(Recorded, "__module__", "utils")
    monkeypatch.setitem(sys.modules, "utils", module)
    path = tmp_path / "model.pth"
    content = {"settings": Recorded(lr=0.1), "dtype": torch.float16, "model": {"a": torch.ones(2)}}
    torch.save(content, path, pickle_protocol=protocol)
    monkeypatch.delitem(sys.modules, "utils")
    found = read_weights(str(path))
    assert torch.equal(found.weights["a"], torch.ones(2))
    assert isinstance(found.content["settings"], Shell)
    assert not isinstance(found.content["settings"], dict)
    assert found.content["dtype"] is torch.float16


def test_objects_in_a_damaged_file(tmp_path) -> None:
    """Its pickle says how many elements a tensor has; its record has fewer."""
    path = tmp_path / "cut.pth"
    torch.save({"model": nn.ReLU(), "weight": torch.ones(64)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cut\.pth: damaged.*fetch it again"):
        load_inert(path, str(path))


def test_no_weights(tmp_path) -> None:
    for content, fact in (
        ({"epoch": 3, "loss": [1.0]}, r"state_dict, model, .* epoch, loss"),
        ([torch.ones(1)], r"log\.pth.* list"),
        ([torch.optim.SGD([torch.zeros(1)], lr=1)], r"log\.pth.* list"),
        ({"model": nn.ReLU()}, "no weights"),
    ):
        torch.save(content, tmp_path / "log.pth")
        with pytest.raises(CheckpointError, match=fact):
            read_weights(str(tmp_path / "log.pth"))
    assert state_dict_of(Shell()) == {}


def test_prefixes_of_wrappers_go(tmp_path) -> None:
    path = tmp_path / "parallel.pth"

    def read(*names: str) -> list[str]:
        torch.save({name: torch.ones(1) for name in names}, path)
        return list(read_weights(str(path)).weights)

    assert read("module.module.a", "module.module.b") == ["a", "b"]
    assert read("module.a", "b", "submodule.c") == ["a", "b", "submodule.c"]
