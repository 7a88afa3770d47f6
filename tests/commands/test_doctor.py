"""`ssd doctor` as a whole: where all is well, and where PyTorch is broken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssd.commands.doctor import main
from ssd.config import shipped
from ssd.tools.doctor import Finding, examine
from ssd.tools.doctor.probes import MODULES, run_probe

ROOT = Path(__file__).parents[2]


@pytest.fixture
def probes_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the probes in this process, which has imported everything."""
    monkeypatch.setattr(examine, "run_isolated", lambda names: {name: run_probe(name) for name in names})


@pytest.mark.usefixtures("probes_here")
def test_a_healthy_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok       ssd-detector ")
    assert any(line.startswith("ok       torch ") for line in lines)
    assert "a tiny detector finds " in [line for line in lines if line][-2]
    assert "error" not in lines[-1]


@pytest.mark.usefixtures("probes_here")
def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["healthy"] is True
    assert content["findings"][-1]["name"] == "detection"
    assert all(finding.keys() == {"name", "status", "found", "remedy"} for finding in content["findings"])


def test_text() -> None:
    findings = [Finding("a", "warning", "odd", "mend it"), Finding("long", "error", "bad"), Finding("b", "error", "x")]
    assert examine.to_text(findings).splitlines() == [
        "warning  a     odd",
        "               -> mend it",
        "error    long  bad",
        "error    b     x",
        "",
        "2 errors, 1 warning",
    ]
    assert examine.to_text([Finding("a", "note", "odd")]).endswith("\n\nAll is well\n")


def test_configs_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "shipped_names", list)
    finding = examine._check_library()
    assert (finding.status, finding.remedy) == ("error", "install it anew")


def test_a_version_and_an_import_make_one_finding() -> None:
    version, broken = Finding("a", "ok", "1.2"), Finding("a", "error", "fails: OSError: x", "mend it")
    assert examine._unite(version, broken) == Finding("a", "error", "1.2, fails: OSError: x", "mend it")
    assert examine._unite(version, Finding("a", "ok", "")) == version
    missing = Finding("a", "error", "not installed", "pip install a")
    assert examine._unite(missing, broken) == missing


def test_without_torch(tmp_path: Path) -> None:
    """Neither the command nor the checks of the other packages need it."""
    (tmp_path / "torch.py").write_text("raise OSError('libcudnn.so.9: cannot open shared object file')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-m", "ssd.cli", "doctor", "--json"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stderr
    findings = {finding["name"]: finding for finding in json.loads(run.stdout)["findings"]}
    assert "fails: OSError: libcudnn.so.9" in findings["torch"]["found"]
    assert findings["torch"]["remedy"] == "pip install --force-reinstall torch"
    assert findings["torchvision"]["status"] == "error"
    assert findings["detection"]["found"].startswith("not tried, since it needs torch, torchvision")
    for name in ("numpy", "opencv-python", "pycocotools", "matplotlib", "tensorboard"):
        assert findings[name]["status"] == "ok", findings[name]


def test_without_any_package(tmp_path: Path) -> None:
    for module in MODULES.values():
        (tmp_path / f"{module.partition('.')[0]}.py").write_text("raise ImportError('removed')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-m", "ssd.cli", "doctor", "--json"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stderr
    findings = {finding["name"]: finding for finding in json.loads(run.stdout)["findings"]}
    for name in MODULES:
        assert findings[name]["status"] == "error", findings[name]
        assert "removed" in findings[name]["found"]


@pytest.mark.slow
def test_as_users_start_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ssd.cli", "doctor"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "a tiny detector finds " in run.stdout
