import platform
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn

from ssd.utils.device import has_bf16_arithmetic, keep_freed_memory, select_device, select_dtype
from ssd.utils.errors import ConfigError, DeviceError

Machine = Callable[..., None]
OFF, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16


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


@pytest.mark.parametrize(
    ("device", "has_bf16", "name", "expected"),
    [
        ("cuda", True, "auto", BF16),
        ("cuda", False, "auto", FP16),
        ("cuda", True, "fp16", FP16),
        ("cuda:1", True, "bf16", BF16),
        ("cuda", True, "off", OFF),
        ("cpu", False, "auto", OFF),
        ("cpu", False, "bf16", BF16),
        ("cpu", False, "off", OFF),
        ("mps", False, "auto", OFF),
        ("mps", False, "off", OFF),
        ("cuda", False, "bf16", None),
        ("cpu", False, "fp16", None),
        ("mps", False, "fp16", None),
        ("mps", False, "bf16", None),
    ],
)
def test_number_formats(
    monkeypatch: pytest.MonkeyPatch, device: str, has_bf16: bool, name: str, expected: torch.dtype | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})  # training asks nevertheless
    if expected is not None:
        assert select_dtype(name, torch.device(device), "SOLVER.AMP") == expected
        return
    with pytest.raises(ConfigError, match=rf"SOLVER\.AMP {name}"):
        select_dtype(name, torch.device(device), "SOLVER.AMP")


@pytest.mark.parametrize(
    ("capabilities", "groups", "name", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, 1, "auto", BF16),
        ({"amx_bf16": True}, 2, "auto", BF16),  # grouped, but not depthwise
        ({"amx_bf16": True}, 4, "auto", OFF),
        ({"amx_bf16": True}, 1, "off", OFF),
        ({"avx512_bf16": True, "amx_bf16": False}, 1, "auto", OFF),
        ({"architecture": "arm64"}, 1, "auto", OFF),
        ({}, 4, "bf16", BF16),
    ],
)
def test_auto_on_a_cpu_depends_on_processor_and_network(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], groups: int, name: str, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, groups=groups))
    assert select_dtype(name, torch.device("cpu"), "TEST.AMP", network) == expected
    assert has_bf16_arithmetic() is (capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") or False)


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
