"""SOLVER.DETERMINISTIC: what it switches, and two runs with equal bits."""

import json
from pathlib import Path

import torch
from torch import nn

from ssd.engine.determinism import seed_iteration

ROOT = Path(__file__).parents[2]

CODE = """
import json, os, torch
from ssd.engine.determinism import make_deterministic

def switches():
    make_deterministic()
    return [
        torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark, os.environ["CUBLAS_WORKSPACE_CONFIG"],
    ]

os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
own = switches()
os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":16:8"
print(json.dumps([own, switches()]))
"""


def test_the_switches(forks, tmp_path) -> None:
    """A workspace that the user has chosen stays."""
    (tmp_path / "switches.py").write_text(CODE)
    statuses, shown = forks(tmp_path / "switches.py", cwd=tmp_path)
    assert statuses == [0], shown
    assert json.loads(shown) == [[True, True, True, False, workspace] for workspace in (":4096:8", ":16:8")]


def test_two_runs_give_equal_bits(forks, config_file, tmp_path) -> None:
    """Each in a process of its own, with two threads, and a loader worker or none."""
    digests = []
    for number in range(2):
        folder = tmp_path / f"run{number}"
        options = ("SOLVER.DETERMINISTIC", True, "SOLVER.MAX_ITER", 4, "OUTPUT_DIR", folder)
        command = (ROOT / "train.py", "--config-file", config_file, "--skip-test", *options)
        statuses, said = forks(*command, "DATA_LOADER.NUM_WORKERS", number, cwd=tmp_path, OMP_NUM_THREADS="2")
        assert statuses == [0], said
        (start,) = json.loads((folder / "manifest.json").read_text())["starts"]
        digests.append(start["result"]["weights"])
        assert start["initial_weights"] != start["result"]["weights"]
    assert digests[0] == digests[1]


def test_a_run_switches_it_on(script, config_file, monkeypatch) -> None:
    called: list[bool] = []
    monkeypatch.setattr("ssd.engine.setup.make_deterministic", lambda: called.append(True))
    for value, expected in ((False, []), (True, [True])):
        options = ("SOLVER.DETERMINISTIC", value, "SOLVER.MAX_ITER", 1)
        assert script("train.py", "--config-file", config_file, "--skip-test", *options)[0] == 0
        assert called == expected


def draw(seed: int, iteration: int, rank: int = 0) -> list[float]:
    seed_iteration(seed, iteration, rank)
    return nn.functional.dropout(torch.ones(64)).tolist()


def test_draws_are_a_function_of_each_argument() -> None:
    first = draw(1, 2, 3)
    torch.rand(1000)
    assert draw(1, 2, 3) == first
    arguments = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (2**40, 10**9, 7))
    assert len({tuple(draw(*values)) for values in arguments}) == len(arguments)
