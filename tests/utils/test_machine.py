"""Cores of a container, versions, machine and code."""

import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import ssd
from ssd.utils import machine


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The control group of a machine of eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


def test_cores_without_a_control_group(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.available_cores(cgroup) == 8
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.available_cores(cgroup) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("200000 100000\n", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("1600000 100000", 8)],
)
def test_cores_of_version_2(cgroup: Path, text: str, expected: int) -> None:
    (cgroup / "cpu.max").write_text(text)
    assert machine.available_cores(cgroup) == expected


@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("-1", 8), ("", 8)])
def test_cores_of_version_1(cgroup: Path, quota: str, expected: int) -> None:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert machine.available_cores(cgroup) == expected


def test_pytorch_gets_no_more_threads_than_cores(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_versions_and_machine() -> None:
    versions = machine.describe_versions()
    assert (versions["torch"], versions["ssd"]) == (torch.__version__, ssd.__version__)
    assert (versions["numpy"], versions["opencv"]) == (np.__version__, cv2.__version__)
    assert versions["torchvision"]
    assert (versions["cuda"] is None) == (not torch.cuda.is_available())
    assert all(value is None or type(value) is str for value in versions.values())  # torch's is a class of its own
    told = machine.describe_machine(torch.device("cpu"))
    assert (told["threads"], told["device"], told["gpu"]) == (torch.get_num_threads(), "cpu", None)
    assert told["cpu"]
    assert told["cpu_instructions"] == torch.backends.cpu.get_cpu_capability()
    assert machine.package_version("no-such-package-at-all") is None


def git(root: Path, *args: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(["git", "-C", str(root), *identity, *args], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of one file in a repository."""
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    root = tmp_path / "repository"
    (root / "ssd").mkdir(parents=True)
    (root / "ssd" / "version.py").write_text("1\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "one")
    return root / "ssd"


def test_the_commit_and_its_changes(package: Path) -> None:
    clean = machine.describe_code(package)
    assert clean["commit"] == git(package.parent, "rev-parse", "HEAD").strip()
    assert clean["is_changed"] is False
    (package.parent / "notes.md").write_text("no code")
    assert machine.describe_code(package) == {**clean, "is_changed": True}
    (package / "version.py").write_text("3\n")
    assert machine.describe_code(package)["digest"] != clean["digest"]


def test_a_repository_around_an_installed_package_is_another(package: Path) -> None:
    installed = package.parent / "site-packages" / "ssd"
    installed.mkdir(parents=True)
    (installed / "version.py").write_text("1\n")
    code = machine.describe_code(installed)
    assert (code["commit"], code["is_changed"]) == (None, None)
    assert code["digest"]


def test_without_git(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert machine.describe_code(package)["commit"] is None


@pytest.mark.parametrize("content", [None, "processor\t: 0\nBogoMIPS\t: 50.00\n"])
def test_a_system_without_a_name_of_its_processor(content: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS and Linux on ARM."""

    def read_text(path: Path) -> str:
        assert str(path) == "/proc/cpuinfo"
        if content is None:
            raise FileNotFoundError(path)
        return content

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert machine.cpu_model() == "arm64"
