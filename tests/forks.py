"""Scripts in processes that are forked from one that has imported PyTorch, so that they start at once."""

import multiprocessing
import os
import runpy
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRELOADED = ["pytest", "torch.utils.tensorboard", "pycocotools.coco", "ssd.commands.train", "ssd.commands.test"]


def run_script(args: Sequence[str], environment: Mapping[str, str], cwd: str, output: str) -> None:
    """Become the script; its own processes are forks, not of another server."""
    multiprocessing.set_start_method("fork", force=True)
    os.environ.update(environment)
    os.chdir(cwd)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    import torch

    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", "1")))
    sys.argv = list(args)
    runpy.run_path(args[0], run_name="__main__")


class Forks:
    """Runs scripts of the repository."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(ROOT))
            patch.setenv("OMP_NUM_THREADS", "1")
            patch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait leave the cores to others
            forkserver.ensure_running()

    def __call__(self, *args: object, cwd: Path, number: int = 1, **environment: str) -> tuple[list[int], str]:
        """Run a script, in ``number`` processes as torchrun would start them; return exit statuses and output."""
        launches: list[dict[str, str]] = [{}]
        if number > 1:
            common = {"WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number, "MASTER_ADDR": "127.0.0.1"}
            common |= {"MASTER_PORT": free_port(), "GLOO_SOCKET_IFNAME": "lo"}
            launches = [strings({"RANK": rank, "LOCAL_RANK": rank, **common}) for rank in range(number)]
        output = cwd / "output.txt"
        output.unlink(missing_ok=True)
        started = [self.start(*args, cwd=cwd, output=output, **launch, **environment) for launch in launches]
        deadline = time.monotonic() + 120
        for process in started:
            process.join(max(0, deadline - time.monotonic()))
            process.kill()
            process.join()
        return [process.exitcode or 0 for process in started], output.read_text()

    def start(self, *args: object, cwd: Path, output: Path, **environment: str) -> BaseProcess:
        """Start a script whose output is added to a file."""
        words = ([str(arg) for arg in args], environment, str(cwd), str(output))
        process = self._context.Process(target=run_script, args=words)
        process.start()
        return process


def strings(values: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
