"""What a result depends on."""

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import ssd
from ssd.utils import environment


def test_versions_are_those_that_run() -> None:
    versions = environment.describe_versions()
    assert versions["torch"] == torch.__version__
    assert versions["numpy"] == np.__version__
    assert versions["opencv"] == cv2.__version__
    assert versions["ssd"] == ssd.__version__
    assert versions["torchvision"]
    assert (versions["cuda"] is None) == (not torch.cuda.is_available())
    assert all(value is None or type(value) is str for value in versions.values())  # torch's is a class of its own


def test_the_machine() -> None:
    machine = environment.describe_machine(torch.device("cpu"))
    assert machine["threads"] == torch.get_num_threads()
    assert machine["device"] == "cpu"
    assert machine["gpu"] is None
    assert machine["cpu"]
    assert machine["cpu_instructions"] == torch.backends.cpu.get_cpu_capability()


def git(root: Path, *args: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(["git", "-C", str(root), *identity, *args], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a package of one file."""
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    root = tmp_path / "repository"
    (root / "ssd").mkdir(parents=True)
    (root / "ssd" / "version.py").write_text("1\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "one")
    monkeypatch.setattr(environment, "_PACKAGE", root / "ssd")
    return root


def test_the_commit_and_what_differs_from_it(repository: Path) -> None:
    clean = environment.describe_code()
    assert clean["commit"] == git(repository, "rev-parse", "HEAD").strip()
    assert clean["is_changed"] is False
    (repository / "notes.md").write_text("no code")
    noted = environment.describe_code()
    assert noted == {**clean, "is_changed": True}
    (repository / "ssd" / "version.py").write_text("3\n")
    assert environment.describe_code()["digest"] != clean["digest"]


def test_a_repository_around_an_installed_package_is_another(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = repository / "site-packages" / "ssd"
    installed.mkdir(parents=True)
    (installed / "version.py").write_text("1\n")
    monkeypatch.setattr(environment, "_PACKAGE", installed)
    code = environment.describe_code()
    assert (code["commit"], code["is_changed"]) == (None, None)
    assert code["digest"]


def test_without_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert environment.describe_code()["commit"] is None


def test_what_is_not_installed() -> None:
    assert environment.package_version("no-such-package-at-all") is None


@pytest.mark.parametrize("content", [None, "processor\t: 0\nBogoMIPS\t: 50.00\n"])
def test_a_system_that_does_not_tell_its_processor(content: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither macOS nor Linux on ARM does; the architecture stands for it."""

    def read_text(path: Path) -> str:
        assert str(path) == "/proc/cpuinfo"
        if content is None:
            raise FileNotFoundError(path)
        return content

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert environment.cpu_model() == "arm64"
