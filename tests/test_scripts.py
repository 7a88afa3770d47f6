"""train.py and test.py on the command line (demo.py: test_demo.py), and their messages for mistakes."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.interrupted import interrupt

ROOT = Path(__file__).parents[1]

Script = Callable[..., tuple[int, str, str]]


def succeed(script: Script, *args: object) -> str:
    """Run a script to its end, and return its log."""
    status, log, error = script(*args)
    assert status == 0, error
    return log


def fail(script: Script, *args: object) -> str:
    """Run a script that ends with an error, and return that."""
    status, _, error = script(*args)
    assert (status, error[:7], "Traceback" in error) == (1, "error: ", False)
    return error


def test_train_and_test(script, config_file, tmp_path) -> None:
    out = tmp_path / "out"
    run = ("train.py", "--config-file", config_file, "--log-step", 2, "--save_step", 2, "--eval_step", 2)
    log = succeed(script, *run, "SOLVER.MAX_ITER", 4)
    assert "iter: 000004, lr: 0.00" in log
    assert "eta: 0:00:00" in log
    names = {path.name for path in out.iterdir()}
    assert names >= {
        *("config.yaml", "log.txt", "tf_logs", "inference", "last_checkpoint.txt"),
        *("model_000002.pth", "model_000004.pth", "model_final.pth", "model_best.pth"),
    }
    assert (out / "log.txt").read_text().count("iter: 000002") == 1
    assert list((out / "tf_logs").glob("events.*"))
    state = torch.load(out / "model_final.pth", weights_only=True)
    assert state["class_names"][0] == "__background__"
    assert "NUM_CLASSES: " in state["config"]

    results = out / "inference" / "test_scenes"
    assert (results / "result_0000002.txt").is_file()
    assert json.loads((results / "metrics.json").read_text())["metric"] == "voc"

    log = succeed(script, "test.py", "--config-file", config_file, "--output_dir", tmp_path / "elsewhere")
    assert "mAP: " in log
    metrics = json.loads((tmp_path / "elsewhere" / "test_scenes" / "metrics.json").read_text())

    config_file.unlink()  # the checkpoint carries it
    log = succeed(script, "test.py", "--ckpt", out / "model_final.pth", "--output_dir", tmp_path / "alone")
    assert f"Config of {out / 'model_final.pth'}" in log
    assert json.loads((tmp_path / "alone" / "test_scenes" / "metrics.json").read_text()) == metrics


def read_files(folder: Path) -> dict[str, bytes]:
    """Return all files of a run but its log."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "log.txt"}


def test_files_of_a_run_change_only_with_what_is_trained(script, trained, tmp_path) -> None:
    before = read_files(tmp_path / "out")
    run = ("train.py", "--config-file", trained, "SOLVER.MAX_ITER", 3)
    for options in (("SOLVER.LR", 0.5), ("--skip-test",), ("SOLVER.MAX_ITER", 2), ("TEST.METRIC", "voc07")):
        status, log, _ = script(*run, *options)
        assert (status, "Nothing is left to train" in log) == (0, True)
        assert read_files(tmp_path / "out") == before
    succeed(script, "test.py", "--config-file", trained, "SOLVER.LR", 0.5)
    changed = {path for path, content in read_files(tmp_path / "out").items() if before.get(path) != content}
    assert all(Path(path).is_relative_to(tmp_path / "out" / "inference") for path in changed)

    succeed(script, *run)  # the evaluation that --skip-test left out
    now = read_files(tmp_path / "out")
    (start,) = json.loads(now[str(tmp_path / "out" / "manifest.json")])["starts"]
    assert start["result"]["metrics"].keys() == {"test_scenes"}
    config, model = (str(tmp_path / "out" / name) for name in ("config.yaml", "model_final.pth"))
    assert (now[config], now[model]) == (before[config], before[model])


def test_without_test_sets(script, config_file, tmp_path) -> None:
    run = ("train.py", "--config-file", config_file, "--eval_step", 1, "SOLVER.MAX_ITER", 1, "DATASETS.TEST", "()")
    status, _, error = script(*run)
    assert (status, "DATASETS.TEST" in error, "--skip-test" in error) == (1, True, True)
    status, log, _ = script(*run, "--skip-test")
    assert (status, "Nothing is evaluated" in log) == (0, True)
    assert (tmp_path / "out" / "model_final.pth").is_file()


def test_a_new_run_starts_from_weights_and_then_continues_itself(script, trained, tmp_path) -> None:
    weights = tmp_path / "out" / "model_final.pth"
    overrides = ["MODEL.WEIGHTS", weights, "OUTPUT_DIR", tmp_path / "tuned", "SOLVER.LR", 1e-9]
    log = succeed(script, "train.py", "--config-file", trained, "--skip-test", *overrides, "SOLVER.MAX_ITER", 1)
    assert f"Started from {weights}" in log
    assert "iter: 000001" in log
    before, after = (torch.load(p)["model"] for p in (weights, tmp_path / "tuned" / "model_final.pth"))
    name = "box_head.predictor.cls_headers.0.weight"
    torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6)
    _, log, _ = script("train.py", "--config-file", trained, "--skip-test", *overrides, "SOLVER.MAX_ITER", 2)
    assert "Continuing from" in log
    assert "Started from" not in log


def test_all_options_of_a_step(script, config_file, tmp_path) -> None:
    solver = ("SOLVER.AMP", "bf16", "SOLVER.EMA", 0.9, "SOLVER.MICRO_BATCHES", 2, "SOLVER.GRAD_CLIP", 1.0)
    run = ("train.py", "--config-file", config_file, *solver, "SOLVER.OPTIMIZER", "adamw", "TEST.AMP", "bf16")
    log = succeed(script, *run, "--log_step", 1, "--eval_step", 1, "SOLVER.MAX_ITER", 2)
    assert "iter: 000002" in log
    best = torch.load(tmp_path / "out" / "model_best.pth")
    assert {"model", "training_model", "best_metric"} <= set(best)
    log = succeed(script, *run, "--skip-test", "SOLVER.MAX_ITER", 3)
    assert "iteration 2 of 3" in log
    log = succeed(script, "test.py", "--config-file", config_file, "TEST.AMP", "bf16")
    assert "mAP: " in log


def test_batches_of_one_image_train_down_to_one_cell(script, config_file) -> None:
    options = ("SOLVER.BATCH_SIZE", 1, "INPUT.IMAGE_SIZE", 64, "SOLVER.MAX_ITER", 2)  # the last map has stride 64
    log = succeed(script, "train.py", "--config-file", config_file, "--skip-test", "--log_step", 1, *options)
    assert "1x1" in log
    assert "iter: 000002" in log


def test_sigint_saves_and_ends(config_file, tmp_path) -> None:
    command = [sys.executable, "train.py", "--config-file", str(config_file), "--skip-test", "--log_step", "1"]
    options = ["SOLVER.MAX_ITER", "100000", "DATA_LOADER.NUM_WORKERS", "1"]
    status, rest = interrupt([*command, *options], "iter: 000002", ROOT)
    assert status == 130, rest
    assert "the same command continues from there" in rest
    assert "Traceback" not in rest
    saved = list((tmp_path / "out").glob("model_0*.pth"))
    assert len(saved) == 1
    assert (tmp_path / "out" / "last_checkpoint.txt").read_text() == str(saved[0])


MISTAKES = [
    (["SOLVER.BASE_LR", "0.1"], ["SOLVER.BASE_LR", "SOLVER.LR"]),
    (["SOLVER.LR", "fast"], ["SOLVER.LR", "'fast'"]),
    (["DATASETS.TRAIN", "()"], ["DATASETS.TRAIN"]),
    (["DATASETS.TRAIN", "('voc_2007_trainval',)"], ["VOC_ROOT"]),
    (["DATASETS.TRAIN", "('voc_2007_trainvl',)"], ["voc_2007_trainval"]),
    (["DATASETS.CUSTOM.train_scenes.ROOT", "gone"], ["gone"]),
    (["DATASETS.CUSTOM.train_scenes.SPLIT", "trainvl"], ["trainval"]),
    (["MODEL.NUM_CLASSES", "21"], ["MODEL.NUM_CLASSES", "21", "9"]),
    (["MODEL.BACKBONE.NAME", "tinny"], ["'tiny'"]),
    (["MODEL.DEVICE", "tpu"], ["MODEL.DEVICE", "'tpu'"]),
    (["SOLVER.AMP", "fp16"], ["SOLVER.AMP", "CPU", "bf16"]),
    (["SOLVER.AMP", "fp8"], ["SOLVER.AMP", "'fp8'"]),
    (["TEST.AMP", "fp16"], ["TEST.AMP", "CUDA"]),
    (["SOLVER.MICRO_BATCHES", "3"], ["SOLVER.MICRO_BATCHES", "3"]),
    (["SOLVER.EMA", "1.0"], ["SOLVER.EMA", "1.0"]),
    (["TEST.METRIC", "cocoa"], ["'cocoa'"]),
    (["TEST.METRIC", "vco"], ["'vco'"]),
    (["DATASETS.TEST", "('test_scenes', 'test_scenes')"], ["test_scenes"]),
]


@pytest.mark.parametrize(("overrides", "facts"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_mistakes_end_in_a_message(script, config_file, overrides, facts) -> None:
    error = fail(script, "train.py", "--config-file", config_file, *overrides, "SOLVER.MAX_ITER", 1)
    assert error.count("\n") == 1
    assert [fact for fact in facts if fact not in error] == []


def test_a_missing_config(script) -> None:
    assert "nowhere.yaml" in fail(script, "train.py", "--config-file", "nowhere.yaml")
    status, _, error = script("train.py")
    assert (status, error.startswith("error: CONFIG is missing")) == (2, True)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read(script, config_file, scenes, tmp_path, workers) -> None:
    root = tmp_path / "damaged"
    shutil.copytree(scenes, root)
    for path in (root / "JPEGImages").iterdir():
        path.write_bytes(path.read_bytes()[:500])
    options = ("DATASETS.CUSTOM.train_scenes.ROOT", root, "DATA_LOADER.NUM_WORKERS", workers)
    error = fail(script, "train.py", "--config-file", config_file, *options)
    assert error.startswith(f"error: {root / 'JPEGImages'}")


@pytest.mark.parametrize("name", ["test.py", "demo.py"])
def test_without_a_checkpoint_there_is_no_result(script, config_file, name) -> None:
    error = fail(script, name, "--config-file", config_file)
    assert "OUTPUT_DIR" in error


def test_a_checkpoint_that_does_not_fit(script, trained, tmp_path) -> None:
    before = (tmp_path / "out" / "config.yaml").read_text()
    other = ("MODEL.BOX_HEAD.PREDICTOR", "SSDLiteBoxPredictor")
    for name, options, facts in (
        ("train.py", other, ["model_final.pth"]),
        ("test.py", other, ["model_final.pth", "box_head.predictor.cls_headers.0.conv.0.weight"]),
        ("test.py", ("--ckpt", tmp_path / "gone.pth"), ["gone.pth"]),
        ("test.py", ("MODEL.NUM_CLASSES", 5), ["MODEL.NUM_CLASSES", "5", "9"]),
    ):
        error = fail(script, name, "--config-file", trained, *options)
        assert [fact for fact in facts if fact not in error] == []
    assert (tmp_path / "out" / "config.yaml").read_text() == before  # of the refused training


def test_several_processes_come_from_torchrun(script, config_file, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    error = fail(script, "train.py", "--config-file", config_file)
    assert "WORLD_SIZE is 2" in error
    assert "torchrun" in error


def test_a_checkpoint_from_a_url(script, trained, tmp_path, monkeypatch) -> None:
    """One that is in the cache; tests/utils/test_model_zoo.py downloads."""
    monkeypatch.setenv("TORCH_MODEL_ZOO", str(tmp_path / "out"))
    url = "http://127.0.0.1/release/model_final.pth"
    assert f"Loaded weights from {url}" in succeed(script, "test.py", "--config-file", trained, "--ckpt", url)


def test_the_best_model_survives_a_restart(script, config_file, tmp_path) -> None:
    run = ("train.py", "--config-file", config_file, "SOLVER.MAX_ITER", 2)
    succeed(script, *run)
    best = tmp_path / "out" / "model_best.pth"
    state = torch.load(best, weights_only=True)
    torch.save({**state, "best_metric": 2.0}, best)  # better than anything that follows
    marked = best.read_bytes()
    succeed(script, *run[:-1], 4)
    assert best.read_bytes() == marked
