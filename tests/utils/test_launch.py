"""What torchrun tells a process, and which device follows from it."""

import pytest
import torch

from ssd.utils import launch
from ssd.utils.distributed import Launch, read_launch, select_local_device
from ssd.utils.errors import ConfigError, DeviceError

VARIABLES = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_launch() == Launch(rank=0, world_size=1, local_rank=0, local_world_size=1)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert read_launch() == Launch()


def test_one_of_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**VARIABLES, "MASTER_ADDR": "node0", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    assert read_launch() == Launch(rank=5, world_size=8, local_rank=1, local_world_size=4)


def test_another_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"WORLD_SIZE is 8, but MASTER_ADDR, MASTER_PORT is not set: .*with torchrun"):
        read_launch()


@pytest.mark.parametrize("name", ["cuda", "auto"])
def test_the_local_rank_chooses_the_gpu(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(launch, "select_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert select_local_device(name, Launch(5, 8, 1, 4)) == torch.device("cuda:1")
    assert select_local_device(name, Launch()) == torch.device("cuda")
    message = r"this machine shows 4 GPU\(s\) for 6 processes; start torchrun with --nproc_per_node 4"
    with pytest.raises(DeviceError, match=message):
        select_local_device(name, Launch(4, 6, 4, 6))


def test_processes_on_a_cpu_share_it() -> None:
    assert select_local_device("cpu", Launch(5, 8, 1, 4)) == torch.device("cpu")


@pytest.mark.parametrize(("name", "message"), [("cuda:1", "LOCAL_RANK chooses the GPU"), ("mps", "is for one process")])
def test_devices_that_several_processes_cannot_have(monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.setattr(launch, "select_device", torch.device)
    with pytest.raises(DeviceError, match=message):
        select_local_device(name, Launch(1, 2, 1, 2))
    assert select_local_device(name, Launch()) == torch.device(name)
