import platform
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from ssd.utils.device import keep_freed_memory, select_device
from ssd.utils.errors import DeviceError

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Simulate a number of GPUs, and MPS or none."""

    def pretend(*, gpus: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(
    ("gpus", "mps", "expected"), [(1, True, "cuda"), (1, False, "cuda"), (0, True, "mps"), (0, False, "cpu")]
)
def test_auto_takes_the_first_that_exists(machine: Machine, gpus: int, mps: bool, expected: str) -> None:
    machine(gpus=gpus, mps=mps)
    assert select_device("auto") == torch.device(expected)


def test_named_devices(machine: Machine) -> None:
    machine(gpus=2, mps=True)
    for name in ("cpu", "cuda", "cuda:1", "mps"):
        assert select_device(name) == torch.device(name)
    with pytest.raises(DeviceError, match=r"'cuda:2'.* 2 GPU"):
        select_device("cuda:2")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_devices_that_this_machine_lacks(machine: Machine, name: str) -> None:
    machine()
    with pytest.raises(DeviceError, match=f"'{name}'.*MODEL.DEVICE"):
        select_device(name)


@pytest.mark.parametrize("name", ["gpu", "", "CUDA0", "xpu", "meta", "cuda:x"])
def test_an_unknown_name_lists_the_choices(name: str) -> None:
    with pytest.raises(DeviceError, match=f"'{name}'.*auto, cpu, mps, cuda, cuda:N"):
        select_device(name)


def test_freed_memory_is_not_kept_by_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize("keep", [True, False])
def test_freed_memory_is_used_again_without_page_faults(keep: bool) -> None:
    """Blocks of 64 MiB have 16384 pages of 4 KiB, or 1024 of 64 KiB. The heap takes some rounds to settle."""
    code = f"""
import resource, torch
from ssd.utils.device import keep_freed_memory
assert not {keep} or keep_freed_memory()
torch.set_num_threads(1)
for _ in range(32):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    least = min(map(int, run.stdout.split()))
    assert least < 16 if keep else least >= 1024
