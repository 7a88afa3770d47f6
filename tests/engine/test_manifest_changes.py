"""What is listed as not as it was."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ssd.config import Config, load_config
from ssd.data import build_datasets
from ssd.engine.manifest import read_manifest, start_manifest
from ssd.engine.manifest_changes import changes_on_the_way, changes_since, last_training, result_differences


@pytest.fixture
def cfg(config_file: Path) -> Config:
    return load_config(config_file, [])


@pytest.fixture
def start(cfg: Config) -> dict[str, Any]:
    """What a manifest tells of a start with both of its datasets."""
    Path(cfg.OUTPUT_DIR).mkdir()
    train_sets = build_datasets(cfg, is_train=True)
    test_sets = build_datasets(cfg, False, train_sets[0].class_names)
    device = torch.device("cpu")
    start_manifest(cfg, {}, train_sets, test_sets, nn.Linear(2, 2), device=device, start_iteration=0)
    return read_manifest(Path(cfg.OUTPUT_DIR, "manifest.json"))[0]


def test_nothing_changes_by_itself(cfg: Config, start: dict[str, Any]) -> None:
    assert set(start["datasets"]["test"]) == {"test_scenes"}
    assert list(changes_since(start, cfg)) == []


def test_versions_code_machine_and_data(cfg: Config, start: dict[str, Any]) -> None:
    start["versions"]["torch"] = "1.0"
    start["code"]["digest"] = "0" * 32
    start["machine"].update(cpu="abacus", threads=99, cores=99, system="CP/M")
    start["datasets"]["train"]["train_scenes"]["num_images"] = 9
    start["datasets"]["test"]["test_scenes"]["digest"] = "1" * 32
    changes = list(changes_since(start, cfg))
    assert changes[0] == f"versions.torch: '1.0' -> '{torch.__version__}'"
    assert changes[1].startswith(f"code.digest: '{'0' * 32}' -> ")
    assert changes[2].startswith("machine.cpu: 'abacus' -> ")
    assert changes[3] == "datasets.train.train_scenes.num_images: 9 -> 8"
    assert changes[4].startswith("datasets.test.test_scenes.digest: ")
    assert len(changes) == 5  # the number of threads is set, and the rest has no effect


def test_another_commit_of_the_same_code_is_no_change(cfg: Config, start: dict[str, Any]) -> None:
    start["code"].update(commit="f" * 40, is_changed=None)
    assert list(changes_since(start, cfg)) == []


def test_tests_that_were_not_asked_for_are_not_looked_at(cfg: Config, start: dict[str, Any]) -> None:
    start["datasets"]["test"] = {}
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TEST = ("nowhere",)
    assert list(changes_since(start, cfg)) == []


def test_a_training_begins_at_0(start: dict[str, Any]) -> None:
    starts = [{**start, "start_iteration": iteration} for iteration in (0, 4, 0, 6, 8)]
    assert last_training(starts) == starts[2:]
    assert last_training(starts[3:]) == starts[3:]
    assert list(changes_on_the_way(starts[3:])) == ["the manifest does not tell of the first 6 iterations"]
    assert list(changes_on_the_way(starts[2:])) == []


def test_what_was_changed_on_the_way(start: dict[str, Any]) -> None:
    num_objects = start["datasets"]["train"]["train_scenes"]["num_objects"]
    later = copy.deepcopy({**start, "start_iteration": 6, "processes": 2})
    later["config"]["SOLVER"]["LR"] = 0.5
    later["config"]["OUTPUT_DIR"] = "moved"
    later["versions"]["numpy"] = None
    later["datasets"]["train"]["train_scenes"]["num_objects"] = 0
    later["datasets"]["test"] = {}  # nothing is learnt from them
    assert list(changes_on_the_way([start, later, {**later, "start_iteration": 8}])) == [
        "from iteration 6 on, SOLVER.LR: 0.001 -> 0.5",
        "from iteration 6 on, processes: 1 -> 2",
        f"from iteration 6 on, versions.numpy: '{start['versions']['numpy']}' -> None",
        f"from iteration 6 on, datasets.train.train_scenes.num_objects: {num_objects} -> 0",
    ]


def test_results() -> None:
    before = {"metrics": {"a": {"mAP": 0.5, "cat": None}, "b": {"mAP": 0.25}}}
    assert result_differences(before, copy.deepcopy(before)) == []
    now = {"metrics": {"a": {"mAP": 0.75, "cat": None}}}
    assert result_differences(before, now) == ["a.mAP: 0.5 -> 0.75", "b: {'mAP': 0.25} -> None"]
