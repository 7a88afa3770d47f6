"""``python -m benchmarks`` as a user calls it. What it measures is never judged here."""

import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import SUITES, parse_args

ROOT = Path(__file__).parents[2]


def run_benchmarks(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *map(str, args)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


WITH_PEER = {"loader", "loss", "post_processing", "training_step", "inference"}


@pytest.mark.parametrize("names", [["loss", "loader"], pytest.param([], marks=pytest.mark.slow)], ids=["two", "all"])
def test_smoke_run(tmp_path, checkout, names) -> None:
    """The modules run, beside the stand-in too; the JSON holds what the table shows."""
    run = run_benchmarks(*names, "--quick", "--json", tmp_path / "figures.json", "--peer", checkout)
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads((tmp_path / "figures.json").read_text())
    assert (report["suite"], report["quick"], report["failures"]) == ("cpu", True, [])
    known = {"cpu", "cores", "gpu", "torch_threads", "torch", "torchvision", "numpy", "opencv", "date", "commit"}
    assert known <= set(report["machine"])
    assert report["machine"]["torch_threads"] == 1
    assert {comparison["name"] for comparison in report["comparisons"]} == set(names or SUITES["cpu"])
    with_peer = {c["name"] for c in report["comparisons"] for row in c["rows"] if row["name"] == "lufficc/SSD"}
    assert with_peer == WITH_PEER & set(names or WITH_PEER)
    for comparison in report["comparisons"]:
        assert comparison["title"] in run.stdout
        assert comparison["notes"] == []
        ours, *others = comparison["rows"]
        assert ours["ratio"] is None
        for row in others:
            assert row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]
            assert math.isfinite(row["value"]["median"])
            assert row["rounds"]


@pytest.mark.parametrize(
    ("args", "fact"),
    [
        (["losses"], "suite cpu has no losses; it has loader, loss, "),
        (["--suite", "gpu", "evaluation"], "suite gpu has no evaluation; it has training_step, "),
        (["--suite", "gpu"], "needs a CUDA device"),
    ],
)
def test_mistakes(args, fact, capsys, monkeypatch) -> None:
    assert parse_args(["loss", "loader"]).names == ["loss", "loader"]
    for name in {name for suite in SUITES.values() for name in suite}:
        assert callable(importlib.import_module(f"benchmarks.{name}").run)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        parse_args(args)
    assert fact in capsys.readouterr().err


@pytest.mark.gpu
def test_smoke_run_on_a_gpu(tmp_path) -> None:
    run = run_benchmarks("--suite", "gpu", "--quick", "--json", tmp_path / "figures.json")
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads((tmp_path / "figures.json").read_text())
    assert {comparison["name"] for comparison in report["comparisons"]} == set(SUITES["gpu"])
