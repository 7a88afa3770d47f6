"""A training that is killed several times ends with the losses and weights of an unbroken one."""

import contextlib
import os
import random
import re
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.forks import Forks

ROOT = Path(__file__).parents[1]
SAVE, EVALUATE = 3, 6  # periods; a kill in an evaluation comes just after a checkpoint
PLACES = ("writing", "tagging", "evaluating", "written", "renaming")


class Trainings:
    """Trainings in other processes, see mortal_training.py."""

    def __init__(self, forks: Forks, config_file: Path, max_iter: int):
        self.forks = forks
        self.options = [
            *("--config-file", config_file, "--log_step", 1, "--save_step", SAVE, "--eval_step", EVALUATE),
            *("MODEL.BACKBONE.NAME", "forgetful", "SOLVER.MAX_ITER", max_iter, "SOLVER.LR_STEPS", [max_iter // 2]),
            *("SOLVER.EMA", 0.9, "SOLVER.OPTIMIZER", "adamw", "SOLVER.GRAD_CLIP", 10.0, "SOLVER.LR", 0.002),
            *("CHECKPOINT.KEEP", 2),
        ]

    def start(self, output: Path, folder: Path, num_workers: int, death: str = "") -> BaseProcess:
        """Start a training whose log goes to ``output``."""
        options = [*self.options, "OUTPUT_DIR", folder, "DATA_LOADER.NUM_WORKERS", num_workers]
        environment = {"DEATH": death} if death else {}
        script = ROOT / "tests" / "mortal_training.py"
        return self.forks.start(script, *options, cwd=ROOT, output=output, **environment)


def wait(process: BaseProcess) -> int:
    """Return the exit status."""
    process.join(120)
    assert process.exitcode is not None
    assert process.pid is not None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the workers of its loader
    return process.exitcode


@pytest.fixture
def trainings(forks: Forks, config_file: Path, request: pytest.FixtureRequest) -> Trainings:
    """Trainings of 18 iterations, if the test does not say."""
    return Trainings(forks, config_file, getattr(request, "param", 18))


def progress(output: Path) -> int:
    """How many iterations a process has logged."""
    return output.read_text().count("iter: ") if output.is_file() else 0


def kill_at_any_moment(trainings: Trainings, rng: random.Random, output: Path, folder: Path, number: int) -> int:
    """Start a training, send it a signal at a random moment, and return how it ended."""
    process = trainings.start(output, folder, rng.choice([0, 0, 1, 2]))
    assert process.pid is not None
    enough, deadline = rng.randint(0, 4), time.monotonic() + 60
    while progress(output) < enough:
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.001)
    time.sleep(rng.uniform(0.02, 0.05 if enough else 0.5))
    os.kill(process.pid, number)
    return wait(process)


def check_survival(trainings: Trainings, folder: Path, *, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    broken, outputs = folder / "broken", []
    assert wait(trainings.start(folder / "whole.txt", folder / "whole", 0)) == 0
    for kill in range(kills):
        outputs.append(folder / f"{kill}.txt")
        number = (signal.SIGKILL, signal.SIGTERM)[kill // 2 % 2]
        if kill % 2:
            death = f"{PLACES[kill // 2 % len(PLACES)]} {rng.randint(1, 2)} {int(number)}"
            status = wait(trainings.start(outputs[-1], broken, rng.choice([0, 1]), death))
        else:
            status = kill_at_any_moment(trainings, rng, outputs[-1], broken, number)
        check_ending(status, number, outputs[-1], broken)
    outputs.append(folder / "last.txt")
    assert wait(trainings.start(outputs[-1], broken, 2)) == 0, outputs[-1].read_text()
    compare(folder, outputs)


def check_ending(status: int, number: int, output: Path, folder: Path) -> None:
    """SIGKILL kills; SIGTERM saves and ends with 143, or kills where there is nothing to be saved."""
    text = output.read_text() if output.is_file() else ""
    if number == signal.SIGKILL:
        assert status == -signal.SIGKILL, text
    elif "iter: " in text:
        assert status == 143, text
        saved = (folder / "last_checkpoint.txt").read_text()
        (iteration,) = re.findall(r"Interrupted after iteration (\d+)", text)
        assert saved.endswith(f"model_{int(iteration):06d}.pth")
    else:
        assert status in (143, -signal.SIGTERM), text
    assert "Traceback" not in text


def losses(outputs: list[Path]) -> list[tuple[int, str]]:
    """Return iteration and losses, without the averages over iterations, of each line."""
    lines = [line for output in outputs for line in output.read_text().splitlines() if "iter: " in line]
    return [
        (int(re.findall(r"iter: (\d+)", line)[0]), "".join(re.findall(r"lr: \S+|\w+_loss|\(\d+\.\d+\)", line)))
        for line in lines
    ]


def compare(folder: Path, outputs: list[Path]) -> None:
    expected, logged = dict(losses([folder / "whole.txt"])), losses(outputs)
    assert {iteration for iteration, _ in logged} == set(expected)
    assert [pair for pair in logged if expected[pair[0]] != pair[1]] == []
    for name in ("model_final.pth", "model_best.pth"):
        whole, broken = (torch.load(folder / run / name, weights_only=True) for run in ("whole", "broken"))
        assert whole.keys() >= {"model", "training_model", "optimizer", "scheduler", "iteration", "best_metric"}
        for checkpoint in (whole, broken):
            del checkpoint["config"]  # names another folder and number of workers
        assert_same_bits(broken, whole, name)
    results = [read_results(folder / run / "inference") for run in ("whole", "broken")]
    assert len(results[0]) > 3
    assert results[0] == results[1]
    left = {path.name for path in (folder / "broken").rglob("*") if path.name.startswith(".")}
    assert left == set()
    assert len(list((folder / "broken").glob("model_0*.pth"))) == 2


def read_results(folder: Path) -> dict[str, bytes]:
    """The files of the evaluations by name, but that which is named by the time."""
    files = {path.name: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    return {name: content for name, content in files.items() if not re.fullmatch(r"result_\d{4}.*-.*", name)}


def assert_same_bits(value: Any, expected: Any, place: str) -> None:
    assert type(value) is type(expected), place
    if isinstance(value, Tensor):
        assert value.dtype == expected.dtype, place
        assert value.numpy().tobytes() == expected.numpy().tobytes(), place
    elif isinstance(value, dict):
        assert value.keys() == expected.keys(), place
        for key in value:
            assert_same_bits(value[key], expected[key], f"{place}, {key}")
    elif isinstance(value, list | tuple):
        assert len(value) == len(expected), place
        for index, (item, other) in enumerate(zip(value, expected, strict=True)):
            assert_same_bits(item, other, f"{place}, {index}")
    else:
        assert value == expected, place


def test_four_kills(trainings: Trainings, tmp_path: Path) -> None:
    check_survival(trainings, tmp_path, kills=4, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("trainings", [150], indirect=True)
def test_twenty_kills(trainings: Trainings, tmp_path: Path) -> None:
    check_survival(trainings, tmp_path, kills=20, seed=1)
