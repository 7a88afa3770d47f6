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

from benchmarks import training_step
from benchmarks.__main__ import SUITES, parse_args
from benchmarks.plan import Plan
from benchmarks.timing import QUICK

ROOT = Path(__file__).parents[2]


def run_benchmarks(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *map(str, args)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


WITH_PEER = {"loader", "loss", "post_processing", "training_step", "inference"}


@pytest.mark.parametrize("names", [["loss", "loader"], pytest.param([], marks=pytest.mark.slow)], ids=["two", "all"])
def test_smoke_run(tmp_path: Path, checkout: Path, names: list[str]) -> None:
    """The modules run, beside the stand-in too; the JSON holds what the table shows."""
    run = run_benchmarks(*names, "--quick", "--json", tmp_path / "figures.json", "--peer", checkout)
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads((tmp_path / "figures.json").read_text())
    assert (report["suite"], report["quick"], report["failures"]) == ("cpu", True, [])
    assert {"cpu", "cores", "gpu", "torch_threads", "torch", "torchvision", "numpy", "opencv", "date", "commit"} <= set(
        report["machine"]
    )
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


@pytest.mark.parametrize("name", sorted({name for suite in SUITES.values() for name in suite}))
def test_every_name_is_a_module(name: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{name}").run)


def test_names_choose() -> None:
    assert parse_args(["loss", "loader"]).names == ["loss", "loader"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["losses"], "suite cpu has no losses; it has loader, loss, "),
        (["--suite", "gpu", "evaluation"], "suite gpu has no evaluation; it has training_step, "),
        pytest.param(
            ["--suite", "gpu"],
            "suite gpu needs a CUDA device, and torch sees none here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_mistakes(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_args(args)
    assert message in capsys.readouterr().err


def test_the_gpu_case_without_a_gpu(tmp_path: Path) -> None:
    """What the gpu suite measures of a step runs on any device."""
    plan = Plan(torch.device("cpu"), QUICK, is_quick=True, photos=tmp_path)
    (case,) = training_step._QUICK_CASES
    comparison = training_step._measure_on_gpu(plan, case)
    assert comparison.rows[0].name == "ssd, bf16"
    assert comparison.facts["achieved TFLOP/s"] > 0


@pytest.mark.gpu
def test_smoke_run_on_a_gpu(tmp_path: Path) -> None:
    run = run_benchmarks("--suite", "gpu", "--quick", "--json", tmp_path / "figures.json")
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads((tmp_path / "figures.json").read_text())
    assert {comparison["name"] for comparison in report["comparisons"]} == set(SUITES["gpu"])
