"""Table, curves and pictures of a training, which do not change the trained model."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from ssd.engine.monitor import TrainingMonitor
from tests.engine.test_results import read

Script = Callable[..., tuple[int, str, str]]


def train(script: Script, config_file: Path, out: Path, *options: object, status: int = 0) -> str:
    flags = ("--log_step", 2, "--save_step", 3, "--eval_step", 3)
    keys = ("OUTPUT_DIR", out, "SOLVER.MAX_ITER", 6, "TEST.VALIDATION_LOSS", True)
    found, log, _ = script("train.py", "--config-file", config_file, *flags, *keys, *options)
    assert found == status
    return log


STEADY = ["iteration", "lr", "total_loss", "reg_loss", "cls_loss"]
MEASURED = [f"test_scenes/{name}" for name in ("total_loss", "reg_loss", "cls_loss", "mAP")]


def test_a_training_leaves_a_table_curves_and_pictures(script, config_file, tmp_path) -> None:
    log = train(script, config_file, tmp_path / "out")
    rows = read(tmp_path / "out" / "results.csv")
    for fact in (
        f"Written to {tmp_path / 'out'}: model_best.pth",
        f"Next: ssd test {tmp_path / 'out'}",
        "test_scenes: mAP 0.",
    ):
        assert fact in log.partition("Done in")[2]
    assert [row["iteration"] for row in rows] == ["2", "3", "4", "6"]
    assert list(rows[0]) == [*STEADY, "images_per_second", "memory_mib", *MEASURED]
    assert [bool(row["total_loss"]) for row in rows] == [True, False, True, True]
    assert [bool(row["test_scenes/mAP"]) for row in rows] == [False, True, False, True]
    parts = [float(rows[1][f"test_scenes/{name}"]) for name in ("reg_loss", "cls_loss")]
    assert float(rows[1]["test_scenes/total_loss"]) == pytest.approx(sum(parts))
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


def test_neither_the_monitor_nor_a_break_changes_a_training(script, config_file, tmp_path, monkeypatch) -> None:
    """The broken one ends by Ctrl-C after iteration 5, and continues from iteration 3, as if killed after that."""
    train(script, config_file, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr("ssd.commands.train.show_first_batch", lambda training, mean, std: training)
        train(script, config_file, tmp_path / "plain", "--use_tensorboard", False, "TEST.VALIDATION_LOSS", False)
    assert not (tmp_path / "plain" / "first_batch.jpg").exists()

    end_step = TrainingMonitor.end_step
    out, steps = tmp_path / "broken", iter(range(1, 6))

    def interrupt(monitor: TrainingMonitor, losses: dict, num_images: int, lr: float) -> None:
        end_step(monitor, losses, num_images, lr)
        if next(steps) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingMonitor, "end_step", interrupt)
        train(script, config_file, out, status=130)
    assert (out / "learning_curves.png").is_file()
    (out / "model_000005.pth").unlink()
    (out / "last_checkpoint.txt").write_text(str(out / "model_000003.pth"))
    (out / "results.csv").write_text((out / "results.csv").read_text() + "5,0.001,0.")
    picture = (out / "first_batch.jpg").read_bytes()
    train(script, config_file, out)
    assert (out / "first_batch.jpg").read_bytes() == picture

    for other, names in (("plain", [*STEADY, "test_scenes/mAP"]), ("broken", STEADY + MEASURED)):
        tables = (read(tmp_path / name / "results.csv") for name in ("whole", other))
        first, second = ([[row[name] for name in names] for row in table] for table in tables)
        assert first == second
        states = [torch.load(tmp_path / name / "model_final.pth")["model"] for name in ("whole", other)]
        torch.testing.assert_close(*states, rtol=0, atol=0)


def report(*folders: Path) -> None:
    """Log an iteration, and end."""
    monitor = TrainingMonitor(0, 2, torch.device("cpu"), *folders)
    monitor.end_step({"total_loss": torch.tensor(1.0)}, 2, 1e-3)
    monitor.log(1)
    monitor.show_first_batch(np.zeros((2, 2, 3), np.uint8))
    monitor.close()


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.INFO, "ssd"):
        report()
        monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows, where the memory is unknown
        report()
    memory = [int(message.partition("mem: ")[2].partition("M")[0]) for message in caplog.messages]
    assert 50 < memory[0] < 2**20
    assert memory[1] == 0
    assert list(tmp_path.iterdir()) == []


class UnfitTensorBoard(ModuleType):
    """A package that an older protobuf cannot import."""

    def __getattr__(self, name: str) -> None:
        raise TypeError("Descriptors cannot be created directly")


@pytest.mark.parametrize("package", [None, UnfitTensorBoard("torch.utils.tensorboard")], ids=["missing", "unfit"])
def test_a_missing_tensorboard_and_a_full_disk_are_warnings(package, tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    out = tmp_path / "missing"
    report(out / "tf_logs", out)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    for warning, name in zip(warnings, ("results.csv", "tf_logs", "first_batch.jpg", "learning_curves"), strict=True):
        assert name in warning
