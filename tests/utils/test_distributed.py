"""A single process is rank 0 of 1, and nothing is sent; several: tests/engine/distributed_checks.py."""

import logging
import os
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import nn

from ssd.utils import distributed
from ssd.utils.distributed import Launch, read_launch, select_local_device
from ssd.utils.errors import ConfigError, DeviceError

VARIABLES = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
ADDRESS = {"MASTER_ADDR": "node0", "MASTER_PORT": "29500"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *ADDRESS):
        monkeypatch.delenv(name, raising=False)


def test_alone(caplog: pytest.LogCaptureFixture) -> None:
    distributed.join_processes(torch.device("cpu"))
    assert not distributed.is_distributed()
    assert (distributed.get_rank(), distributed.get_world_size(), distributed.is_main()) == (0, 1, True)
    values, module = torch.ones(3), nn.Linear(1, 1)
    assert distributed.parallelise(module) is module
    assert distributed.gather({"values": values}) == [{"values": values}]
    assert distributed.broadcast_text("a path") == "a path"
    distributed.broadcast_state(module)
    distributed.wait_for_all("nothing")
    assert distributed.largest_of_all(15) == 15
    logging.getLogger("ssd").propagate = True
    with distributed.in_turns(), distributed.said_once():
        logging.getLogger("ssd.data").warning("a strange box")
    assert "a strange box" in caplog.text
    distributed.leave_processes()


def test_only_errors_of_the_connection_are_taken_for_one() -> None:
    lost = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:5"
    assert distributed.is_lost_connection(RuntimeError(lost))
    assert distributed.is_lost_connection(dist.DistNetworkError("the store is gone"))
    assert not distributed.is_lost_connection(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_every_start_has_keys_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun keeps its store when it restarts the processes."""
    store, prefixes = dist.HashStore(), []

    def rendezvous(url: str, **_: object) -> Iterator[tuple[dist.Store, int, int]]:
        yield store, 0, 2

    def init(backend: str, *, store: dist.PrefixStore, **_: object) -> None:
        store.set("address", str(len(prefixes)))
        prefixes.append(store)

    monkeypatch.setattr(os, "environ", {**os.environ, **VARIABLES, **ADDRESS})
    monkeypatch.setattr(dist, "rendezvous", rendezvous)
    monkeypatch.setattr(dist, "init_process_group", init)
    monkeypatch.setattr(dist, "new_group", lambda **_: dist.ProcessGroup(0, 1))
    for _ in range(3):
        distributed.join_processes(torch.device("cpu"))
    distributed.leave_processes()
    assert [prefix.get("address") for prefix in prefixes] == [b"0", b"1", b"2"]


def test_the_environment_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_launch() == Launch(rank=0, world_size=1, local_rank=0, local_world_size=1)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"MASTER_ADDR, MASTER_PORT"):  # another launcher
        read_launch()
    for name, value in ADDRESS.items():
        monkeypatch.setenv(name, value)
    assert read_launch() == Launch(rank=5, world_size=8, local_rank=1, local_world_size=4)


def test_the_local_rank_chooses_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for name in ("cuda", "auto"):
        assert select_local_device(name, Launch(5, 8, 1, 4)) == torch.device("cuda:1")
        assert select_local_device(name, Launch()) == torch.device("cuda")
        with pytest.raises(DeviceError, match=r"--nproc_per_node 4"):
            select_local_device(name, Launch(4, 6, 4, 6))
    assert select_local_device("cuda:1", Launch()) == torch.device("cuda:1")
    with pytest.raises(DeviceError, match="LOCAL_RANK"):
        select_local_device("cuda:1", Launch(1, 2, 1, 2))
    assert select_local_device("cpu", Launch(5, 8, 1, 4)) == torch.device("cpu")
