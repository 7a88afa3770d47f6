"""Shared memory, folders and the driver, with machines that lack them."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from ssd.tools.doctor import machine
from ssd.tools.doctor.machine import check_folders, check_shared_memory, read_driver
from ssd.utils import model_zoo

GIB = 2**30


def set_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=64 * GIB, free=free))


@pytest.mark.parametrize(("free", "status"), [(2 * GIB, "ok"), (64 * 2**20, "warning")])
def test_shared_memory(free: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_SHARED_MEMORY", tmp_path)
    set_disk(monkeypatch, free)
    finding = check_shared_memory()
    assert finding is not None
    assert finding.status == status
    assert finding.found.startswith(f"{tmp_path}: {'64 MiB' if status == 'warning' else '2.0 GiB'} of 64.0 GiB free")
    assert ("--shm-size" in finding.remedy) == (status == "warning")


def test_no_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_SHARED_MEMORY", tmp_path / "shm")
    assert check_shared_memory() is None


class TestFolders:
    @pytest.fixture(autouse=True)
    def weights(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("TORCH_MODEL_ZOO", raising=False)
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "not" / "yet"))
        return tmp_path / "not" / "yet" / "models"

    def test_well(self, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        set_disk(monkeypatch, 3 * GIB)
        here, _, fetched = check_folders()
        assert (here.status, here.found) == ("ok", f"{tmp_path}: can be written to, 3.0 GiB free")
        assert (fetched.status, fetched.found) == ("ok", f"{weights}: can be written to, 3.0 GiB free")
        assert not weights.exists()

    def test_full(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_disk(monkeypatch, GIB)
        assert [finding.status for finding in check_folders()] == ["warning"] * 3
        assert check_folders()[2].remedy == "make room, or set TORCH_HOME to a folder of your own"

    def test_not_to_be_written(self, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        weights.parents[1].touch()  # a file
        fetched = check_folders()[2]
        assert fetched.status == "warning"
        assert fetched.found.startswith(f"{weights} cannot be written to: Not a directory")

    @pytest.mark.parametrize(
        "settings", [{}, {"TORCH_HOME": "home"}, {"TORCH_HOME": "home", "TORCH_MODEL_ZOO": "~/zoo"}]
    )
    def test_it_is_the_cache_of_downloads(self, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TORCH_HOME")
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        assert machine._weights_folder() == model_zoo._cache_folder()


class TestDriver:
    def test_its_version_and_gpus(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text("#!/bin/sh\necho '580.82, NVIDIA H200'\necho '580.82, NVIDIA L4'\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        assert read_driver() == "NVIDIA driver 580.82, NVIDIA H200, NVIDIA L4"

    @pytest.mark.parametrize("error", [FileNotFoundError(), subprocess.CalledProcessError(9, "nvidia-smi")])
    def test_none(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(subprocess, "run", fail)
        expected = "NVIDIA driver" if Path("/proc/driver/nvidia/version").exists() else None
        assert read_driver() == expected
