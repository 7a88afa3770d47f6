"""What a run continues from, and what it is told."""

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from ssd.config import Config, cfg, load_config
from ssd.engine.resume import (
    StoredTraining,
    config_changes,
    find_training,
    read_stored_config,
    resume,
    with_stored_schedule,
)
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.errors import CheckpointError, ConfigError

CLASSES = ["__background__", "cell"]


def config(folder: Path, *overrides: object) -> Config:
    return load_config(None, ["OUTPUT_DIR", str(folder), *overrides])


def checkpointer(cfg: Config) -> Checkpointer:
    result = Checkpointer(nn.Linear(2, 2), save_dir=cfg.OUTPUT_DIR)
    result.extra = {"class_names": list(CLASSES), "config": cfg.dump()}
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of SOLVER.LR 0.5 that has saved at iterations 4 and 8."""
    saved = checkpointer(config(tmp_path, "SOLVER.LR", 0.5))
    for iteration in (4, 8):
        with torch.no_grad():
            saved.model.weight.fill_(iteration)
        saved.save(f"model_{iteration:06d}", iteration=iteration)
    return tmp_path


def find(folder: Path) -> StoredTraining:
    stored = find_training(folder)
    assert stored is not None
    return stored


@pytest.fixture
def stored(folder: Path) -> StoredTraining:
    return find(folder)


def test_a_run_continues_from_its_last_checkpoint(folder, stored, caplog) -> None:
    """What was found does not change with the model, and is what the continued run saves."""
    assert find_training(folder / "new") is None
    cfg = config(folder, "SOLVER.LR", 0.5)
    running = checkpointer(cfg)
    with caplog.at_level(logging.INFO):
        assert resume(running, cfg, stored, max_iter=9) == 8
    assert running.model.weight.tolist() == [[8.0, 8.0], [8.0, 8.0]]
    (message,) = caplog.messages
    assert f"{folder / 'model_000008.pth'}: iteration 8 of 9" in message
    with torch.no_grad():
        running.model.weight.zero_()
    assert stored.checkpoint["model"]["weight"].eq(8).all()
    running.save("model_final", iteration=9)
    assert list(find(folder).checkpoint) == list(stored.checkpoint)


def test_temporary_files_of_killed_processes_are_removed(folder, caplog) -> None:
    results = folder / "inference" / "scenes"
    results.mkdir(parents=True)
    left = [folder / ".model_000009.pth.77.tmp", folder / ".last_checkpoint.txt.1.tmp", results / ".metrics.json.7.tmp"]
    for path in left:
        path.write_bytes(b"half")
    caplog.set_level(logging.INFO)
    find_training(folder)
    assert [(path.exists(), str(path) in caplog.text) for path in left] == [(False, True)] * 3


def test_changed_keys_are_reported_one_by_one(folder, stored, caplog) -> None:
    cfg = config(folder, "SOLVER.LR", 0.25, "SOLVER.BATCH_SIZE", 4)
    resume(checkpointer(cfg), cfg, stored, max_iter=9)
    (message,) = caplog.messages
    assert "model_000008.pth" in message
    assert message.splitlines()[1:] == ["  SOLVER.BATCH_SIZE: 32 -> 4", "  SOLVER.LR: 0.5 -> 0.25"]


def test_the_best_metric_is_that_of_the_best_model(folder, caplog) -> None:
    """It may have been found after the checkpoint was written."""
    cfg = config(folder)
    best = checkpointer(cfg)
    best.extra["best_metric"] = 0.5
    best.save("model_best", tag_last=False, iteration=8)
    stored, running = find(folder), checkpointer(cfg)
    resume(running, cfg, stored, max_iter=9)
    assert running.extra["best_metric"] == 0.5
    (folder / "model_best.pth").write_bytes(b"")
    resume(checkpointer(cfg), cfg, stored, max_iter=9)
    assert "model_best.pth: damaged" in caplog.text


def test_other_classes_cannot_continue(folder, stored) -> None:
    running = checkpointer(config(folder))
    running.extra["class_names"] = ["__background__", "dog", "cat"]
    with pytest.raises(CheckpointError, match=r"cell.*DATASETS\.TRAIN.* dog, cat"):
        resume(running, config(folder), stored, max_iter=9)


@pytest.mark.parametrize(
    ("values", "fact"),
    [
        ({"iteration": -1}, "iteration.* -1"),
        ({"iteration": "8"}, "iteration.* '8'"),
        ({"class_names": 3}, "was trained on 3, but"),
        ({"model": {"bias": torch.zeros(2)}}, "does not fit the model"),
    ],
)
def test_a_checkpoint_of_something_else(folder, stored, values, fact) -> None:
    other = StoredTraining(Path("a.pth"), {**stored.checkpoint, **values})
    with pytest.raises(CheckpointError, match=rf"a\.pth.*{fact}"):
        resume(checkpointer(config(folder)), config(folder), other, max_iter=9)


def test_checkpoints_of_lufficc_continue(folder, stored) -> None:
    """They have neither classes nor config nor best metric."""
    plain = StoredTraining(stored.path, {key: stored.checkpoint[key] for key in ("model", "iteration")})
    assert resume(checkpointer(config(folder)), config(folder), plain, max_iter=9) == 8
    with pytest.raises(CheckpointError, match="--resume_schedule"):
        with_stored_schedule(config(folder), plain)


def test_the_stored_schedule_is_taken_when_asked_for(tmp_path, caplog) -> None:
    then = config(tmp_path, "SOLVER.LR", 0.5, "SOLVER.LR_STEPS", [7], "SOLVER.MAX_ITER", 9, "SOLVER.SCHEDULE", "cosine")
    checkpointer(then).save("model_000004", iteration=4)
    now = config(tmp_path, "SOLVER.MOMENTUM", 0.8, "SOLVER.LR_STEPS", [1, 2], "SOLVER.WARMUP_ITERS", 3)
    with caplog.at_level(logging.INFO):
        taken = with_stored_schedule(now, find(tmp_path))
    solver = taken.SOLVER
    assert (solver.LR, solver.LR_STEPS, solver.MAX_ITER, solver.SCHEDULE) == (0.5, [7], 9, "cosine")
    assert (solver.WARMUP_ITERS, solver.MOMENTUM, taken.is_frozen()) == (500, 0.8, True)
    assert now.SOLVER.LR_STEPS == [1, 2]
    assert ("SOLVER.LR_STEPS is [7]" in caplog.text, "MOMENTUM" in caplog.text) == (True, False)


def test_a_stored_schedule_that_is_not_valid(folder) -> None:
    broken = {"model": {}, "config": "SOLVER: {LR: fast}"}
    with pytest.raises(ConfigError, match=r"SOLVER\.LR"):
        with_stored_schedule(config(folder), StoredTraining(folder / "a.pth", broken))


def test_train_takes_the_stored_schedule_by_a_flag(script, trained, tmp_path) -> None:
    """Only then: by default a continued run follows its own config, and says what has changed."""
    run = ("train.py", "--config-file", trained, "--skip-test", "SOLVER.LR", 1e-9)
    status, log, _ = script(*run, "--resume_schedule", "SOLVER.MAX_ITER", 9)
    assert status == 0
    assert "SOLVER.MAX_ITER is 3" in log
    assert "Nothing is left to train" in log
    status, log, _ = script(*run, "SOLVER.MAX_ITER", 4)
    assert status == 0
    assert "SOLVER.LR: 0.001 -> 1e-09" in log
    assert "iter: 000004, lr: 0.00000" in log


def changes(before: Config, now: Config) -> list[str]:
    stored = read_stored_config({"config": before.dump()}, "a.pth")
    assert stored is not None
    return config_changes(stored, now)


def test_each_changed_key_is_named_with_both_values() -> None:
    for config in (cfg, load_config(None, ["INPUT.IMAGE_SIZE", (96, 128), "MODEL.BACKBONE.PRETRAINED", "x.pth"])):
        assert changes(config, config) == []
    before = load_config(None, ["SOLVER.LR", 1e-3, "SOLVER.LR_STEPS", [8], "DATASETS.TRAIN", ("a",)])
    now = load_config(None, ["SOLVER.LR", 1e-2, "SOLVER.LR_STEPS", [8, 9], "INPUT.IMAGE_SIZE", (300, 400)])
    assert changes(before, now) == [
        "DATASETS.TRAIN: ['a'] -> []",
        "INPUT.IMAGE_SIZE: 300 -> [300, 400]",
        "SOLVER.LR: 0.001 -> 0.01",
        "SOLVER.LR_STEPS: [8] -> [8, 9]",
    ]


def test_groups_that_one_of_them_lacks() -> None:
    before, now = (load_config(None).clone() for _ in range(2))
    before.DATASETS.CUSTOM["old"] = Config({"FORMAT": "voc", "ROOT": "a", "SPLIT": "b"})
    now.DATASETS.CUSTOM["new"] = Config({"FORMAT": "coco"})
    assert changes(before, now) == [
        "DATASETS.CUSTOM.new: (none) -> {'FORMAT': 'coco'}",
        "DATASETS.CUSTOM.old: {'FORMAT': 'voc', 'ROOT': 'a', 'SPLIT': 'b'} -> (none)",
    ]


@pytest.mark.parametrize(
    ("stored", "lr", "change"),
    [
        ({"SOLVER": {"LR": 0.1}}, 0.2, "SOLVER.LR: 0.1 -> 0.2"),  # keys of later versions had their defaults
        ({"SOLVER": {"NESTEROV": True}}, 1e-3, "SOLVER.NESTEROV: True -> (none)"),  # of an earlier version
        ({"SOLVER": 3}, 1e-3, "SOLVER: 3 -> {"),
    ],
)
def test_configs_of_other_versions(stored, lr, change) -> None:
    (found,) = config_changes(stored, load_config(None, ["SOLVER.LR", lr]))
    assert found.startswith(change)


@pytest.mark.parametrize("config", [3, "[1, 2]", "a: [", "[" * 5000, "a: !!python/object/apply:os.getcwd []"])
def test_values_that_are_no_config(config) -> None:
    assert read_stored_config({"model": {}}, "a.pth") is None
    with pytest.raises(ConfigError, match=r"^config in a\.pth"):
        read_stored_config({"config": config}, "a.pth")


def test_aliases_do_not_explode() -> None:
    """Nine levels of nine aliases each would be 400 million leaves."""
    lines = ["a0: &a0 {x: 1}"]
    for level in range(9):
        lines.append(f"a{level + 1}: &a{level + 1} {{{', '.join(f'k{i}: *a{level}' for i in range(9))}}}")
    with pytest.raises(ConfigError, match=r"^config in a\.pth"):
        read_stored_config({"config": "\n".join([*lines, "SOLVER: *a9"])}, "a.pth")
