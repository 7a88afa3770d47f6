"""``python -m benchmarks accuracy``."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from benchmarks import accuracy
from benchmarks.accuracy_tables import format_tables, paired_differences
from benchmarks.photos import write_photos

ARM = """
MODEL: {BACKBONE: {NAME: tiny, PRETRAINED: False}, PRIORS: {MIN_SIZES: [12, 28, 48, 70], MAX_SIZES: [28, 48, 70, 90],
  ASPECT_RATIOS: [[2], [2], [2], [2]]}}
INPUT: {IMAGE_SIZE: 64}
SOLVER: {MAX_ITER: 30, LR_STEPS: [10, 20]}
"""


def row(arm: str, seed: int, ap: float | None, name: str = "cells") -> dict:
    cost = {"seconds": 5.0, "gmac": 0.5, "parameters": 2_000_000, "iterations": 600, "batch_size": 16}
    return {"arm": arm, "set": name, "seed": seed, **cost, "values": {"AP": ap, "AP/cat": ap}}


def test_differences_are_of_pairs() -> None:
    rows = [row("a", 0, 0.2), row("b", 0, 0.25), row("a", 1, 0.4), row("b", 1, 0.35), row("b", 2, 0.9), row("a", 3, 0)]
    rows += [row("a", 0, 0.1, "masks"), row("b", 0, 0.4, "masks"), row("a", 1, None, "masks"), row("b", 1, 0, "masks")]
    assert paired_differences(rows, "b", "a", "AP") == pytest.approx([0.05, -0.05, 0.3])
    text = format_tables(rows, "a")
    assert "| b | +10.0 +- 18.0 | - |" in text.split("## all sets")[1]
    assert "| a | 20.0 |" in text
    assert "AP/cat" in text


def test_multiplications_of_grouped_convolutions() -> None:
    class Model(nn.Sequential):
        predict = nn.Sequential.forward

    model = Model(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, groups=8, stride=2, padding=1), nn.Conv2d(8, 4, 1))
    assert accuracy.count_macs(model, (16, 32)) == 16 * 32 * 8 * 27 + 8 * 16 * (8 * 9 + 8 * 4)
    assert torch.is_grad_enabled()


def stand_in(command: list[str], **_: object) -> None:
    """Leave what a training leaves; an arm with a frozen stage fails."""
    run = yaml.safe_load(Path(command[-5]).read_text())
    if run["MODEL"]["BACKBONE"]["FREEZE_STAGES"]:
        raise subprocess.CalledProcessError(1, command)
    folder = Path(run["OUTPUT_DIR"], "inference", "photos_test")
    folder.mkdir(parents=True)
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0)}
    torch.save([nothing] * 4, folder / "predictions.pth")
    (folder / "metrics.json").write_text(json.dumps({"values": {"AP": run["SOLVER"]["LR"], "APs": None}}))
    Path(run["OUTPUT_DIR"], "model_final.pth").touch()


@pytest.fixture
def fixed(tmp_path: Path) -> list[str]:
    """Arguments that name four photographs, to train and to test on."""
    (tmp_path / "small.yaml").write_text(ARM)
    write_photos(tmp_path / "photos", 4)
    lists = tmp_path / "photos" / "ImageSets" / "Main"
    (lists / "test.txt").write_text((lists / "trainval.txt").read_text())
    return ["--sets", str(tmp_path / "photos"), "--iterations", "6", "--batch-size", "2", "--output", str(tmp_path)]


def test_runs_are_not_repeated(fixed, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(subprocess, "run", stand_in)
    arms = [str(tmp_path / "small.yaml"), f"{tmp_path}/small.yaml SOLVER.LR 0.5"]
    assert accuracy.main(["--arms", *arms, *fixed]) == 0
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(found["arm"], found["set"], found["seed"]) for found in rows] == [(arm, "photos", 0) for arm in arms]
    assert [found["values"] for found in rows] == [{"AP": ap, "APs": None, "mAP07": 0} for ap in (1e-3, 0.5)]
    assert rows[0]["gmac"] > 0
    run = yaml.safe_load((tmp_path / "runs" / rows[0]["key"] / "run.yaml").read_text())
    assert [run["SOLVER"][name] for name in ("MAX_ITER", "LR_STEPS", "BATCH_SIZE")] == [6, [2, 4], 2]
    assert not list((tmp_path / "runs").rglob("model_final.pth"))
    capsys.readouterr()
    bad = f"{tmp_path}/small.yaml MODEL.BACKBONE.FREEZE_STAGES 99"
    assert accuracy.main(["--arms", *arms, bad, *fixed]) == 1
    out = capsys.readouterr().out
    assert "99, photos, seed 0: failed" in out
    assert "SOLVER.LR 0.5 | +49.9 |" in out
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_run_trains(fixed, tmp_path) -> None:
    assert accuracy.main(["--arms", str(tmp_path / "small.yaml"), *fixed, "--opts", "SOLVER.WARMUP_ITERS", "1"]) == 0
    (row,) = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl", "mAP07", "AP/cat"} <= set(row["values"])


@pytest.mark.parametrize(
    ("args", "fact"),
    [
        (["--arms", "nowhere.yaml", "--sets", "."], "nowhere.yaml"),
        (["--arms", "quickstart.yaml", "--sets", "{empty}"], "{empty}"),
    ],
)
def test_mistakes(args, fact, tmp_path, capsys) -> None:
    args = [arg.format(empty=tmp_path) for arg in args]
    assert accuracy.main([*args, "--output", str(tmp_path / "out")]) == 1
    assert fact.format(empty=tmp_path) in capsys.readouterr().err
