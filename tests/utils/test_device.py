import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from torch import nn

import ssd
from ssd.utils import device as machine
from ssd.utils.device import has_bf16_arithmetic, keep_freed_memory, select_device, select_dtype
from ssd.utils.errors import ConfigError, DeviceError

OFF, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16


def pretend(monkeypatch: pytest.MonkeyPatch, *, gpus: int = 0, mps: bool = False) -> None:
    """Simulate a number of GPUs, and MPS or none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def test_named_devices_and_the_first_that_exists(monkeypatch) -> None:
    for gpus, mps, expected in ((1, True, "cuda"), (1, False, "cuda"), (0, True, "mps"), (0, False, "cpu")):
        pretend(monkeypatch, gpus=gpus, mps=mps)
        assert select_device("auto") == torch.device(expected)
    pretend(monkeypatch, gpus=2, mps=True)
    for name in ("cpu", "cuda", "cuda:1", "mps"):
        assert select_device(name) == torch.device(name)
    with pytest.raises(DeviceError, match=r"'cuda:2'.* 2 GPU"):
        select_device("cuda:2")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "gpu", "", "xpu", "meta", "cuda:x"])
def test_devices_that_this_machine_lacks(monkeypatch, name) -> None:
    pretend(monkeypatch)
    with pytest.raises(DeviceError, match=f"'{name}'.*MODEL.DEVICE"):
        select_device(name)


@pytest.mark.parametrize(
    ("device", "has_bf16", "name", "expected"),
    [
        ("cuda", True, "auto", BF16),
        ("cuda", False, "auto", FP16),
        ("cuda:1", True, "bf16", BF16),
        ("cuda", True, "off", OFF),
        ("cpu", False, "auto", OFF),
        ("cpu", False, "bf16", BF16),
        ("mps", False, "auto", OFF),
        ("cuda", False, "bf16", None),
        ("cpu", False, "fp16", None),
        ("mps", False, "bf16", None),
    ],
)
def test_number_formats(monkeypatch, device, has_bf16, name, expected) -> None:
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
        ({"avx512_bf16": True, "amx_bf16": False}, 1, "auto", OFF),
        ({}, 4, "bf16", BF16),
    ],
)
def test_auto_on_a_cpu_depends_on_processor_and_network(monkeypatch, capabilities, groups, name, expected) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, groups=groups))
    assert select_dtype(name, torch.device("cpu"), "TEST.AMP", network) == expected
    assert has_bf16_arithmetic() is (capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") or False)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_used_again_without_page_faults(monkeypatch) -> None:
    """Blocks of 64 MiB have 16384 pages of 4 KiB, or 1024 of 64 KiB. The heap takes some rounds to settle."""
    code = """
import resource, torch
from ssd.utils.device import keep_freed_memory
torch.set_num_threads(1)
def least():
    faults = []
    for _ in range(32):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**24)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(faults)
print(least(), keep_freed_memory(), least())
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, is_possible, after = run.stdout.split()
    assert int(before) >= 1024
    assert is_possible == "True"
    assert int(after) < 16
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The control group of a machine of eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("200000 100000\n", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("1600000 100000", 8)],
)
def test_cores_of_a_container(cgroup, quota, expected) -> None:
    assert machine.available_cores(cgroup) == 8
    (cgroup / "cpu.max").write_text(quota)
    assert machine.available_cores(cgroup) == expected


def test_pytorch_gets_no_more_threads_than_cores(cgroup, monkeypatch) -> None:
    (cgroup / "cpu.max").write_text("200000 100000")
    threads = [8]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    machine.limit_threads(cgroup)
    machine.limit_threads(cgroup)
    assert threads == [8, 2]
    threads.append(1)  # the user's choice
    machine.limit_threads(cgroup)
    assert threads == [8, 2, 1]


def test_versions_and_machine(monkeypatch) -> None:
    versions = machine.describe_versions()
    assert (versions["torch"], versions["ssd"]) == (torch.__version__, ssd.__version__)
    assert versions["opencv"] == cv2.__version__
    assert versions["torchvision"]
    assert (versions["cuda"] is None) == (not torch.cuda.is_available())
    assert all(value is None or type(value) is str for value in versions.values())  # torch's is a class of its own
    told = machine.describe_machine(torch.device("cpu"))
    assert (told["threads"], told["device"], told["gpu"]) == (torch.get_num_threads(), "cpu", None)
    assert told["cpu"]
    assert machine.package_version("no-such-package-at-all") is None

    def read_text(path: Path) -> str:  # as on macOS
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert machine.cpu_model() == "arm64"


def git(root: Path, *args: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(["git", "-C", str(root), *identity, *args], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_and_its_changes(tmp_path, monkeypatch) -> None:
    package, installed = tmp_path / "ssd", tmp_path / "site-packages" / "ssd"
    for folder in (package, installed):
        folder.mkdir(parents=True)
        (folder / "version.py").write_text("1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "ssd")
    (tmp_path / ".gitignore").write_text("*")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    clean = machine.describe_code(package)
    assert clean["commit"] == git(tmp_path, "rev-parse", "HEAD").strip()
    assert clean["is_changed"] is False
    (package / "version.py").write_text("3\n")
    changed = machine.describe_code(package)
    assert (changed["commit"], changed["is_changed"]) == (clean["commit"], True)
    assert changed["digest"] != clean["digest"]
    code = machine.describe_code(installed)  # the repository around is another one
    assert (code["commit"], code["is_changed"]) == (None, None)
    assert code["digest"]
    monkeypatch.setenv("PATH", "")
    assert machine.describe_code(package)["commit"] is None
