"""`ssd doctor` as a whole: with all packages, and without any."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ssd.commands import doctor
from ssd.commands.doctor import main
from ssd.tools.doctor import Finding

ROOT = Path(__file__).parents[2]
REQUIRED = ("numpy", "opencv-python", "torch", "torchvision", "pycocotools", "matplotlib", "tensorboard", "yacs")


def examine(folder: Path, status: int) -> dict[str, Any]:
    """Run the command in a process, with the modules of a folder in front of all others; return findings by name."""
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
    command = [sys.executable, "-m", "ssd", "doctor", "--json"]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == status, run.stderr
    content = json.loads(run.stdout)
    assert content["healthy"] is (status == 0)
    return {finding["name"]: finding for finding in content["findings"]}


def test_a_healthy_installation(tmp_path: Path) -> None:
    findings = examine(tmp_path, 0)
    assert {"ssd-detector", "GPU", *REQUIRED} <= findings.keys()
    assert findings["detection"]["status"] == "ok"


def test_without_any_package(tmp_path: Path) -> None:
    modules = ("cv2", "defusedxml", "matplotlib", "numpy", "PIL", "pycocotools", "tensorboard", "torch", "torchvision")
    for module in (*modules, "tqdm", "vizer", "yacs", "yaml"):
        (tmp_path / f"{module}.py").write_text("raise ImportError('removed')")
    findings = examine(tmp_path, 1)
    for name in REQUIRED:
        assert findings[name]["status"] == "error", findings[name]
        assert "removed" in findings[name]["found"]
    assert findings["detection"]["status"] == findings["GPU"]["status"] == "error"


def test_text_and_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    findings = [Finding("a", "warning", "odd", "fix it"), Finding("long", "error", "bad")]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    assert main([]) == 1
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        *(["warning", "a", "odd"], ["->", "fix", "it"], ["error", "long", "bad"], []),
        ["errors:", "1,", "warnings:", "1"],
    ]
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("a", "note", "odd")])
    assert main([]) == 0
