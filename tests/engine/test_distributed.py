"""train.py and test.py in several processes, on CPUs with gloo, against one process.

torchrun's agent starts them where what it does when one ends is the point; torchrun itself in the slow tests.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from tests.forks import Forks

ROOT = Path(__file__).parents[2]
RUN = Path(__file__).with_name("recorded_run.py")
CHECKS = Path(__file__).with_name("distributed_checks.py")
AGENT = Path(__file__).with_name("forked_torchrun.py")

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
STEPS = 14

GLOBAL = ("MODEL.BACKBONE.NAME", "plain", "SOLVER.BATCH_SIZE_SCOPE", "global", "SOLVER.BATCH_SIZE")
PLAIN = (*GLOBAL, 8, "TEST.BATCH_SIZE", 1)
AVERAGED = (*GLOBAL, 4, "SOLVER.EMA", 0.9, "SOLVER.GRAD_CLIP", 10.0, "SOLVER.MAX_ITER", STEPS, "--skip-test")


class Runs:
    """Runs of the small model, each in a folder of its own."""

    def __init__(self, root: Path, write_config: Callable[[Path], Path], forks: Forks):
        self.root = root
        self._write_config = write_config
        self._forks = forks

    def command(self, name: str, *args: object, script: str = "train.py") -> list[str]:
        """Return the command of a run, from recorded_run.py on."""
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        config = self._write_config(folder)
        options = ("--use_tensorboard", False, "--log_step", 1) if script == "train.py" else ()
        return [*map(str, (RUN, folder / "record", script, "--config-file", config, *options, *args))]

    def __call__(self, name: str, *args: object, number=1, script="train.py", status=0, **env: str) -> str:
        """Run in so many processes to the end, and return the output."""
        command = self.command(name, *args, script=script)
        statuses, said = self._forks(*command, cwd=self.root, number=number, **env)
        assert statuses == [status] * number, said
        return said

    def launch(self, options: tuple, name: str, *args: object, output: str, **env: str) -> BaseProcess:
        """Let torchrun's agent start a run whose output goes to a file of this folder."""
        words = (*options, *self.command(name, *args))
        env["GLOO_SOCKET_IFNAME"] = "lo"
        return self._forks.start(AGENT, *words, cwd=self.root, output=self.root / output, **env)

    def wait(self, agent: BaseProcess, output: str) -> tuple[int | None, str]:
        """Return the exit status and the output of an agent."""
        agent.join(120)
        return agent.exitcode, (self.root / output).read_text()

    def start(self, options: tuple, command: list[str], **env: str) -> subprocess.Popen[str]:
        """Let torchrun start a command whose output is read from ``stdout``."""
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        launcher = [*TORCHRUN, *map(str, options)]
        return subprocess.Popen([*launcher, *command], env={**ENVIRONMENT, **env}, cwd=self.root, **streams)

    def losses(self, name: str, rank: int = 0) -> list[float]:
        return json.loads((self.root / name / f"record.{rank}.json").read_text())

    def out(self, name: str) -> Path:
        return self.root / name / "out"

    def assert_same_states(self, found: str, expected: str, *parts: str, rtol: float, atol: float) -> None:
        states = [torch.load(self.out(name) / "model_final.pth") for name in (found, expected)]
        for part in parts:
            torch.testing.assert_close(states[0][part], states[1][part], rtol=rtol, atol=atol)


def processes(number: int, *, restarts: int = 0) -> tuple:
    """Return the options of torchrun for processes on this machine, as --standalone sets them."""
    here = ("--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0")
    return (*here, "--nproc_per_node", number, "--max-restarts", restarts)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, write_config: Callable[[Path], Path], forks: Forks) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"), write_config, forks)


@pytest.fixture(scope="module")
def plain(runs: Runs) -> list[float]:
    """Losses of one process without batch norm, in float32."""
    runs("plain", *PLAIN, "--skip-test", "--eval_step", 0, "SOLVER.MAX_ITER", STEPS)
    return runs.losses("plain")


@pytest.fixture(scope="module")
def averaged(runs: Runs) -> str:
    """The output of two processes that train with an average and clipping, in float64."""
    return runs("averaged", *AVERAGED, "--eval_step", 7, number=2, DOUBLE="1")


@pytest.fixture
def three(scenes: Path) -> Iterator[tuple[str, str]]:
    """Override for a split of three images, in the folder that other tests share."""
    splits = scenes / "ImageSets" / "Main"
    (splits / "three.txt").write_text("\n".join((splits / "test.txt").read_text().splitlines()[:3]))
    yield "DATASETS.CUSTOM.test_scenes.SPLIT", "three"
    (splits / "three.txt").unlink()


def test_four_processes_follow_one(runs, plain, three) -> None:
    """Without batch norm; their gradients come in two parts. Then they share three images."""
    said = runs("four", *PLAIN, *three, "SOLVER.MICRO_BATCHES", 2, "SOLVER.MAX_ITER", STEPS, number=4)
    assert len(plain) == STEPS
    assert runs.losses("four") == pytest.approx(plain, rel=1e-5)
    assert [runs.losses("four", rank) for rank in (1, 2, 3)] == [runs.losses("four")] * 3
    assert "4 processes of 2 images: 8 per iteration" in said
    assert said.count("iter: 000014") == said.count("test_scenes: 3 images") == 1
    assert (runs.out("four") / "log.txt").read_text().count("iter: 000014") == 1

    elsewhere = runs.root / "by_one"
    runs("four", "--output_dir", elsewhere, *PLAIN, *three, script="test.py")
    shared, own = (folder / "test_scenes" for folder in (runs.out("four") / "inference", elsewhere))
    assert_same_files(shared, own)
    assert len(torch.load(shared / "predictions.pth")) == 3


def assert_same_files(one: Path, other: Path) -> None:
    for pattern in ("predictions.pth", "metrics.json", "result_*.txt"):
        (first,), (second,) = one.glob(pattern), other.glob(pattern)
        assert first.read_bytes() == second.read_bytes(), pattern


def test_two_processes_with_an_average_follow_one(runs, averaged) -> None:
    runs("alone", *AVERAGED, "--eval_step", 0, DOUBLE="1")
    alone = runs.losses("alone")
    assert len(alone) == STEPS
    assert runs.losses("averaged") == pytest.approx(alone, rel=1e-10)
    runs.assert_same_states("averaged", "alone", "model", "training_model", rtol=1e-7, atol=1e-9)
    assert "Evaluating test_scenes" in averaged


def test_a_killed_process_is_restarted_and_the_run_ends_as_if_unbroken(runs, averaged) -> None:
    mark = runs.root / "killed"
    options = (*AVERAGED, "--eval_step", 7, "--save_step", 3)
    launched = {"output": "restarted.txt", "DOUBLE": "1", "KILL": f"1 8 {mark}"}
    status, said = runs.wait(runs.launch(processes(2, restarts=1), "restarted", *options, **launched), "restarted.txt")
    assert status == 0, said
    assert mark.exists()
    assert "iteration 6 of 14" in said
    assert "another process has ended" in said
    assert runs.losses("restarted") == runs.losses("averaged")[6:]
    parts = ("model", "training_model", "optimizer", "iteration", "best_metric")
    runs.assert_same_states("restarted", "averaged", *parts, rtol=0, atol=0)


def test_two_machines_train_together_and_end_together(runs, plain) -> None:
    """Two agents on the loopback; a process of the second dies, and both commands end with a message."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    agents = []
    for rank in (0, 1):
        nodes = ("--nnodes", 2, "--node_rank", rank, "--master_addr", "127.0.0.1", "--master_port", port)
        launched = {"output": f"{rank}.txt", "KILL": f"1 3 {runs.root / 'lost'}"}
        options = (*nodes, "--nproc_per_node", 1)
        agents.append(runs.launch(options, "machines", *PLAIN, "SOLVER.MAX_ITER", 100000, **launched))
    status, second = runs.wait(agents[1], "1.txt")
    died = time.monotonic()
    other, first = runs.wait(agents[0], "0.txt")
    assert time.monotonic() - died < 60
    assert (status, other) == (1, 1)
    assert "error: rank 0: another process has ended, or cannot be reached any more" in first
    assert "SIGKILL" in second
    assert runs.losses("machines")[:3] == pytest.approx(plain[:3], rel=1e-5)


def test_synchronised_batch_norm_is_refused_on_a_cpu(runs) -> None:
    said = runs("synchronised", "SOLVER.SYNC_BN", True, "SOLVER.MAX_ITER", 2, number=2, status=1)
    assert "SOLVER.SYNC_BN" in said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_torchrun_saves_and_the_same_command_continues(runs, averaged, number) -> None:
    name = f"stopped_{number.name}"
    options = (*AVERAGED, "--eval_step", 7, "--save_step", 0)
    lines = []
    with runs.start(processes(2), runs.command(name, *options), DOUBLE="1") as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "iter: 000002" in line:
                process.send_signal(number)
    assert process.returncode != 0
    found = re.search(r"Interrupted after iteration (\d+)", "".join(lines))
    assert found, lines
    stopped = int(found[1])
    assert (runs.out(name) / f"model_{stopped:06d}.pth").is_file()
    losses = [runs.losses(name, rank) for rank in (0, 1)]
    assert [len(of_rank) for of_rank in losses] == [stopped, stopped]
    with runs.start(processes(2), runs.command(name, *options), DOUBLE="1") as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "FutureWarning" not in said
    assert losses[0] + runs.losses(name) == runs.losses("averaged")


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> list[dict[str, str]]:
    """What came of the checks in each of three processes."""
    folder = tmp_path_factory.mktemp("checks")
    statuses, said = forks(CHECKS, folder, cwd=folder, number=3)
    assert statuses == [0] * 3, said
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(3)]


@pytest.mark.parametrize("check", re.findall(r"^def (check_\w+)", CHECKS.read_text(), re.MULTILINE))
def test_in_three_processes(checked, check) -> None:
    assert [results[check] for results in checked] == ["passed"] * 3
