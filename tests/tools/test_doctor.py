"""Checks of an installation; broken packages stand in front of the real ones, GPUs are simulated."""

import shutil
import warnings
from pathlib import Path

import pytest
import torch

from ssd.tools import doctor
from ssd.tools.doctor import Finding, Requirement, run_isolated

ROOT = Path(__file__).parents[2]
TORCH = Requirement("torch", "2.11")
OPENCV = Requirement("opencv-python", "4.11")


@pytest.mark.parametrize(
    ("code", "found", "remedy"),
    [
        ("print('native code talks', end='')", "", ""),
        ("raise ImportError('libGL.so.1: missing')", "ImportError: libGL.so.1: missing", "apt-get install libgl1"),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "torchvision::nms", "torch torchvision"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9", "--force-reinstall opencv-python"),
        ("raise SystemExit(7)", "exit status 7", "--force-reinstall opencv-python"),
    ],
)
def test_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, found: str, remedy: str) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    (tmp_path / "cv2.py").write_text(code)
    finding = doctor.check_package(Requirement("opencv-python"), {"opencv-python": "5.0"})
    assert finding.status == ("error" if found else "ok")
    assert found in finding.found.removeprefix("5.0")
    assert remedy in finding.remedy


def test_other_processes() -> None:
    finding = run_isolated("sleepy", "import time; time.sleep(60)", timeout=1)
    assert (finding.status, "1 s" in finding.found) == ("error", True)
    finding = Finding("GPU", "warning", "odd", "advice")
    code = f"from ssd.tools.doctor import *; print('noise'); print_finding(Finding{tuple(vars(finding).values())})"
    assert run_isolated("GPU", code) == finding


@pytest.mark.parametrize(
    ("requirement", "versions", "status", "fact"),
    [
        (TORCH, {"torch": "2.9.1"}, "error", "'torch>=2.11'"),
        (TORCH, {"torch": "2.10.9+cpu"}, "error", "'torch>=2.11'"),
        (Requirement("no-such-package", "1.0"), {}, "error", "pip install 'no-such-package>=1.0'"),
        (Requirement("tqdm", "4.60.0"), {"tqdm": "4.60"}, "ok", ""),
        (Requirement("tqdm", "4.60"), {"tqdm": "4.60.0rc1+cpu"}, "ok", ""),
        (OPENCV, {"opencv-python-headless": "4.10"}, "error", "opencv-python-headless>=4.11"),
        (OPENCV, {"opencv-python-headless": "4.12"}, "ok", ""),
    ],
)
def test_versions(requirement: Requirement, versions: dict[str, str], status: str, fact: str) -> None:
    finding = doctor.check_package(requirement, versions)
    assert (finding.status, fact in finding.remedy) == (status, True)


def test_requirements_and_versions_of_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lowest = {one.name: one.lowest for one in doctor.read_requirements() if not one.extra}
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert lowest == {name.lower(): bound for name, _, bound in (line.partition(">=") for line in lines) if bound}
    folder = tmp_path / "py_yaml-0.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: PyYAML\nVersion: 0.1\n")
    (tmp_path / "half_removed-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor.installed_versions()["pyyaml"] == "0.1"  # the first of two is imported


@pytest.mark.parametrize(("version", "status"), [("1.0.3", "ok"), ("0.9.16", "warning"), (None, "note")])
def test_extras(version: str | None, status: str) -> None:
    requirements = [Requirement("timm", "1.0", "timm")]
    finding = doctor.check_extra("timm", requirements, {"timm": version} if version else {})
    assert (finding.name, finding.status) == ("extra timm", status)
    assert ("[timm]'" in finding.remedy) == (status != "ok")


@pytest.fixture
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("_no_gpu")
@pytest.mark.parametrize("reason", ["CPUs", "CUDA_VISIBLE_DEVICES is ''", "driver on your system is too old"])
def test_a_gpu_that_is_not_used(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason == "CPUs":
        monkeypatch.setattr(torch.version, "cuda", None)
    elif reason.startswith("CUDA"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    else:
        message = "The NVIDIA driver on your system\nis too old"
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(warnings.warn(message, stacklevel=1)))
    finding = doctor.check_gpu()
    assert (finding.status, reason in finding.found) == ("warning", True)


@pytest.mark.usefixtures("_no_gpu")
def test_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert doctor.check_gpu().status == "note"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert doctor.check_gpu().found == "Apple MPS"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA L4")
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *size, device: ones(*size))
    finding = doctor.check_gpu()
    assert (finding.status, "NVIDIA L4" in finding.found) == ("ok", True)


def test_a_training_step_and_a_detection() -> None:
    finding = doctor.check_detection()
    assert finding.status == "ok", finding
    assert "100 boxes" in finding.found
