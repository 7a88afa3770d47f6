from pathlib import Path

import pytest
import torch

from ssd.utils import cores


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of eight cores, and the folder that says how much of their time the process gets."""
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "_CGROUP", tmp_path)
    return tmp_path


def test_without_a_control_group(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cores.available_cores() == 8
    monkeypatch.delattr(cores.os, "sched_getaffinity")
    monkeypatch.setattr(cores.os, "cpu_count", lambda: None)
    assert cores.available_cores() == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("200000 100000\n", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("1600000 100000", 8)],
)
def test_version_2(cgroup: Path, text: str, expected: int) -> None:
    (cgroup / "cpu.max").write_text(text)
    assert cores.available_cores() == expected


@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("-1", 8), ("", 8)])
def test_version_1(cgroup: Path, quota: str, expected: int) -> None:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cores.available_cores() == expected


def test_pytorch_takes_no_more_threads_than_there_are_cores(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cgroup / "cpu.max").write_text("200000 100000")
    threads = [8]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    cores.limit_threads()
    cores.limit_threads()
    assert threads == [8, 2]
    threads.append(1)  # the user's choice
    cores.limit_threads()
    assert threads == [8, 2, 1]
