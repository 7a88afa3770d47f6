"""A training that is killed again and again ends with the losses and weights of one that was left alone."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).parents[1]
SAVE, EVALUATE = 3, 6  # periods; a kill in an evaluation comes just after a checkpoint
PLACES = ("writing", "tagging", "evaluating", "written", "renaming")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Trainings:
    """Trainings in processes of their own, see mortal_training.py."""

    def __init__(self, config_file: Path, max_iter: int):
        self.options = [
            *("--config-file", str(config_file), "--log_step", "1", "--save_step", str(SAVE)),
            *("--eval_step", str(EVALUATE), "MODEL.BACKBONE.NAME", "forgetful", "SOLVER.MAX_ITER", str(max_iter)),
            *("SOLVER.EMA", "0.9", "SOLVER.LR_STEPS", f"[{max_iter // 2}]", "CHECKPOINT.KEEP", "2"),
            *("SOLVER.OPTIMIZER", "adamw", "SOLVER.GRAD_CLIP", "10.0", "SOLVER.LR", "0.002"),
        ]
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "mortal_training.py")],
            cwd=ROOT,
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, output: Path, *options: object, death: tuple[str, int, int] | None = None) -> int:
        """Start a training; return its process id."""
        request = {"args": [*self.options, *map(str, options)], "output": str(output), "death": death}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self._answer())

    def wait(self) -> int:
        """Return the exit status of the one that was started."""
        return int(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def close(self) -> None:
        """End the processes."""
        self.process.communicate(timeout=60)


@pytest.fixture
def max_iter() -> int:
    """Iterations of the trainings."""
    return 18


@pytest.fixture
def trainings(config_file: Path, max_iter: int) -> Iterator[Trainings]:
    trainings = Trainings(config_file, max_iter)
    yield trainings
    trainings.close()


def progress(output: Path) -> int:
    """How many iterations a process has logged."""
    return output.read_text().count("iter: ") if output.is_file() else 0


def kill_in_the_midst(trainings: Trainings, rng: random.Random, output: Path, folder: Path, number: int) -> int:
    """Start a training, send it a signal at a random moment, and return how it ended."""
    workers = rng.choice([0, 0, 1, 2])
    pid = trainings.start(output, "OUTPUT_DIR", folder, "DATA_LOADER.NUM_WORKERS", workers)
    enough, deadline = rng.randint(0, 4), time.monotonic() + 60
    while progress(output) < enough:
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.05 if enough else 0.5))
    # Schedulers send SIGTERM to the loader's workers as well.
    os.killpg(pid, number) if number == signal.SIGTERM else os.kill(pid, number)
    return trainings.wait()


def kill_at(trainings: Trainings, rng: random.Random, output: Path, folder: Path, death: tuple[str, int, int]) -> int:
    """Let a training send itself a signal at a place of the code, and return how it ended."""
    trainings.start(output, "OUTPUT_DIR", folder, "DATA_LOADER.NUM_WORKERS", rng.choice([0, 1]), death=death)
    return trainings.wait()


def check_survival(trainings: Trainings, folder: Path, *, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    assert run_whole(trainings, folder / "whole") == 0
    broken, outputs, endings = folder / "broken", [], []
    broken.mkdir()
    for kill in range(kills):
        outputs.append(folder / f"{kill}.txt")
        number = (signal.SIGKILL, signal.SIGTERM)[kill // 2 % 2]
        if kill % 2:
            death = (PLACES[kill // 2 % len(PLACES)], rng.randint(1, 2), number)
            status = kill_at(trainings, rng, outputs[-1], broken, death)
        else:
            status = kill_in_the_midst(trainings, rng, outputs[-1], broken, number)
        endings.append(status)
        check_ending(status, number, outputs[-1], broken)
    outputs.append(folder / "last.txt")
    trainings.start(outputs[-1], "OUTPUT_DIR", broken, "DATA_LOADER.NUM_WORKERS", 2)
    assert trainings.wait() == 0, outputs[-1].read_text()
    assert len(endings) == kills
    compare(folder, outputs)


def run_whole(trainings: Trainings, folder: Path) -> int:
    """Train without a kill."""
    folder.mkdir()
    trainings.start(folder.with_suffix(".txt"), "OUTPUT_DIR", folder)
    return trainings.wait()


def check_ending(status: int, number: int, output: Path, folder: Path) -> None:
    """SIGKILL kills; SIGTERM saves and ends with 143, or kills where there is nothing to be saved."""
    text = output.read_text()
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
    """Iteration and losses (without the averages over iterations, which start anew) of each line, in order."""
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
@pytest.mark.parametrize("max_iter", [150])
def test_twenty_kills(trainings: Trainings, tmp_path: Path) -> None:
    check_survival(trainings, tmp_path, kills=20, seed=1)
