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

from benchmarks.__main__ import SUITES, main, parse_args

ROOT = Path(__file__).parents[2]


def run_benchmarks(*args: object) -> subprocess.CompletedProcess[str]:
    return run_python("-m", "benchmarks", *args)


def run_python(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, args)]
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
    ],
)
def test_mistakes(args, fact, capsys) -> None:
    assert parse_args(["loss", "loader"]).names == ["loss", "loader"]
    for name in {name for suite in SUITES.values() for name in suite}:
        assert callable(importlib.import_module(f"benchmarks.{name}").run)
    with pytest.raises(SystemExit):
        parse_args(args)
    assert fact in capsys.readouterr().err


def test_no_gpu(capsys, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--suite", "gpu"]) == 1
    assert "CUDA" in capsys.readouterr().out


# What `pip install torch torchvision numpy opencv-python-headless` and the wheels that docs/benchmarks.md names lack.
_NOT_THERE = ("pycocotools", "faster_coco_eval", "matplotlib", "scipy", "tensorboard", "onnx", "onnxruntime")


@pytest.mark.parametrize("names", [["training_step"], pytest.param([], marks=pytest.mark.slow)], ids=["one", "all"])
def test_smoke_run_of_the_gpu_suite(tmp_path, names) -> None:
    """It runs on the CPU where there is no GPU, and needs few packages."""
    code = f"""
import sys
sys.modules.update(dict.fromkeys({_NOT_THERE}))
from benchmarks.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
    run = run_python("-c", code, *names, "--suite", "gpu", "--quick", "--json", tmp_path / "figures.json")
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads((tmp_path / "figures.json").read_text())
    assert (report["suite"], report["failures"]) == ("gpu", [])
    assert {comparison["name"] for comparison in report["comparisons"]} == set(names or SUITES["gpu"])
    assert [row["name"] for row in report["comparisons"][0]["rows"]][:1] == ["ssd, bf16"]
