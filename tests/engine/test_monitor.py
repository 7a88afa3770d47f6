"""What a training leaves to look at: a table, curves, pictures; and that it trains as without."""

import csv
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ssd.engine import monitor as monitor_module
from ssd.engine.monitor import TrainingMonitor

Script = Callable[..., tuple[int, str, str]]


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def train(script: Script, config_file: Path, out: Path, *options: object, max_iter: int = 6) -> str:
    flags = ("--log_step", 2, "--save_step", 3, "--eval_step", 3)
    keys = ("OUTPUT_DIR", out, "SOLVER.MAX_ITER", max_iter, "TEST.VALIDATION_LOSS", True)
    status, log, _ = script("train.py", "--config-file", config_file, *flags, *keys, *options)
    assert status == 0
    return log


STEADY = ["iteration", "lr", "total_loss", "reg_loss", "cls_loss"]
MEASURED = [f"test_scenes/{name}" for name in ("total_loss", "reg_loss", "cls_loss", "mAP")]


def test_a_training_leaves_a_table_curves_and_pictures(script: Script, config_file: Path, tmp_path: Path) -> None:
    log = train(script, config_file, tmp_path / "out")
    rows = read(tmp_path / "out" / "results.csv")
    assert [row["iteration"] for row in rows] == ["2", "3", "4", "6"]
    assert list(rows[0]) == [*STEADY, "images_per_second", "memory_mib", *MEASURED]
    assert [bool(row["total_loss"]) for row in rows] == [True, False, True, True]
    assert [bool(row["test_scenes/mAP"]) for row in rows] == [False, True, False, True]
    assert float(rows[1]["test_scenes/total_loss"]) == pytest.approx(
        float(rows[1]["test_scenes/reg_loss"]) + float(rows[1]["test_scenes/cls_loss"])
    )
    assert f"test_scenes, validation losses: total_loss: {float(rows[1]['test_scenes/total_loss']):.3f}" in log
    assert (tmp_path / "out" / "first_batch.jpg").is_file()
    assert (tmp_path / "out" / "learning_curves.svg").read_text().count("reg, test_scenes") == 1
    assert (tmp_path / "out" / "learning_curves.png").stat().st_size > 10_000
    tags = read_tags(tmp_path / "out" / "tf_logs")
    shown = ("0", "1", "2", "3", "precision", "f1", "confusion")
    assert {"first_batch", *(f"test_scenes/{name}" for name in shown)} <= tags["images"]
    assert {"validation/test_scenes/total_loss", "metrics/test_scenes/mAP"} <= tags["scalars"]


def read_tags(folder: Path) -> dict[str, set[str]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {kind: set(tags) for kind, tags in events.Tags().items() if isinstance(tags, list)}


def test_what_is_shown_changes_no_bit_of_what_is_trained(
    script: Script, config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(script, config_file, tmp_path / "shown")
    with monkeypatch.context() as patched:
        patched.setattr("ssd.commands.train.make_training_transform", plain_transform)
        patched.setattr(monitor_module, "write_learning_curves", lambda table: None)
        patched.setattr(monitor_module, "draw_evaluation", lambda evaluation: {})
        patched.setattr(monitor_module, "draw_analysis", lambda evaluation: {})
        train(script, config_file, tmp_path / "plain", "--use_tensorboard", False, "TEST.VALIDATION_LOSS", False)
    assert not (tmp_path / "plain" / "first_batch.jpg").exists()
    shown, plain = (read(tmp_path / name / "results.csv") for name in ("shown", "plain"))
    assert [row["iteration"] for row in plain] == [row["iteration"] for row in shown]
    for one, other in zip(shown, plain, strict=True):
        assert {name: one[name] for name in [*STEADY, "test_scenes/mAP"]} == {
            name: other[name] for name in [*STEADY, "test_scenes/mAP"]
        }
    states = [torch.load(tmp_path / name / "model_final.pth")["model"] for name in ("shown", "plain")]
    torch.testing.assert_close(*states, rtol=0, atol=0)


def plain_transform(cfg, model, class_names, monitor, *, is_new):  # type: ignore[no-untyped-def]
    from ssd.data import make_batch_transform

    return make_batch_transform(cfg, is_train=True)


def test_a_continued_training_has_the_table_of_an_unbroken_one(
    script: Script, config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended by Ctrl-C after the row of iteration 4, but killed before the next save: iteration 3 is gone back to."""
    train(script, config_file, tmp_path / "whole")
    end_step = TrainingMonitor.end_step
    steps: list[int] = []

    def interrupt(monitor: TrainingMonitor, losses: dict, num_images: int, lr: float) -> None:
        end_step(monitor, losses, num_images, lr)
        steps.append(len(steps) + 1)
        if len(steps) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    out = tmp_path / "broken"
    keys = ("OUTPUT_DIR", out, "SOLVER.MAX_ITER", 6)
    flags = ("--log_step", 2, "--save_step", 3, "--eval_step", 3)
    with monkeypatch.context() as patched:
        patched.setattr(TrainingMonitor, "end_step", interrupt)
        assert script("train.py", "--config-file", config_file, *flags, *keys)[0] == 130
    assert (out / "learning_curves.png").is_file()
    (out / "model_000005.pth").unlink()  # as if it had been killed a moment before
    (out / "last_checkpoint.txt").write_text(str(out / "model_000003.pth"))
    (out / "results.csv").write_text((out / "results.csv").read_text() + "5,0.001,0.")
    picture = (out / "first_batch.jpg").read_bytes()
    train(script, config_file, out)
    assert (out / "first_batch.jpg").read_bytes() == picture
    whole, broken = (read(tmp_path / name / "results.csv") for name in ("whole", "broken"))
    for one, other in zip(whole, broken, strict=True):
        assert {name: one[name] for name in STEADY + MEASURED} == {name: other[name] for name in STEADY + MEASURED}


def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    monitor = TrainingMonitor(0, 2, torch.device("cpu"))
    monitor.end_step({"total_loss": torch.tensor(1.0)}, 2, 1e-3)
    monitor.log(1)
    monitor.show("picture", np.zeros((2, 2, 3), np.uint8), 1)
    monitor.close()
    assert list(tmp_path.iterdir()) == []


def test_memory_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cpu")
    assert 50 < monitor_module._memory_in_mebibytes(device) < 2**20
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert monitor_module._memory_in_mebibytes(device) == 0
