"""Probes in a process of their own: broken packages stand for what breaks in the wild."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ssd.tools.doctor import Finding
from ssd.tools.doctor.isolated import run_isolated


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a module in front of all others, in the processes that are started."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[3]}")

    def put(module: str, code: str) -> None:
        (tmp_path / f"{module}.py").write_text(code)

    return put


def test_what_works(broken: Callable[[str, str], None]) -> None:
    broken("shy", "print('native code talks on stdout', end='')")
    assert run_isolated(["shy", "tqdm"]) == {name: Finding(name, "ok", "") for name in ("shy", "tqdm")}


def test_what_raises(broken: Callable[[str, str], None]) -> None:
    broken("cv2", "raise ImportError('libGL.so.1: cannot open shared object file')")
    broken("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    broken("torch", "")
    found = run_isolated(["opencv-python", "torch", "torchvision", "no_such", "tqdm", "operators"])
    assert {name: finding.status for name, finding in found.items()} == {
        **dict.fromkeys(("opencv-python", "torchvision", "no_such", "operators"), "error"),
        **dict.fromkeys(("torch", "tqdm"), "ok"),
    }
    assert found["opencv-python"].found == "fails: ImportError: libGL.so.1: cannot open shared object file"
    assert "apt-get install libgl1" in found["opencv-python"].remedy
    assert found["torchvision"].remedy.endswith("pip install --force-reinstall torch torchvision")
    assert found["no_such"].remedy == "pip install --force-reinstall no_such"
    assert found["operators"] == Finding("operators", "error", "not tried, since it needs torchvision")


def test_what_ends_the_process(broken: Callable[[str, str], None]) -> None:
    broken("cv2", "import os, signal, sys; sys.stderr.write('corrupted\\n'); os.kill(os.getpid(), signal.SIGKILL)")
    broken("yaml", "raise SystemExit(7)")
    found = run_isolated(["tqdm", "opencv-python", "defusedxml", "pyyaml"])
    assert found["opencv-python"].found == "ends its process with signal 9: corrupted"
    assert found["opencv-python"].remedy == "pip install --force-reinstall opencv-python"
    assert found["pyyaml"].found == "ends its process with exit status 7"
    assert found["tqdm"] == Finding("tqdm", "ok", "")
    assert found["defusedxml"] == Finding("defusedxml", "ok", "")


def test_what_hangs(broken: Callable[[str, str], None]) -> None:
    broken("sleepy", "import time; time.sleep(60)")
    found = run_isolated(["tqdm", "sleepy"], timeout=1)
    assert found["tqdm"].status == "ok"
    assert found["sleepy"].found == "hangs: no answer within 1 s"


def test_what_cannot_even_begin(broken: Callable[[str, str], None]) -> None:
    broken("json", "raise SystemExit('this Python is broken')")
    found = run_isolated(["tqdm", "yacs"])
    assert [finding.found for finding in found.values()] == [
        "ends its process with exit status 1: this Python is broken"
    ] * 2
