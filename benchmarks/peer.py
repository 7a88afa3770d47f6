"""A checkout of lufficc/SSD that is measured beside the library: ``python -m benchmarks --peer PATH``.

Its package is also called ssd, so it runs in a process of its own (``peer_child.py``), which imports the checkout and
nothing of ours. That process waits on its standard input, and answers how long so many calls of a task took; so its
timers take turns with ours like any other. It needs the packages that its own requirements name, in this environment.

Written after a description of lufficc/SSD at commit 68dc0a2. Where a version has other names, a note says what was not
measured and why.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.processes import environment_with
from benchmarks.timing import NotMeasuredError, Timer

Array = Tensor | np.ndarray

_CHILD = Path(__file__).with_name("peer_child.py")


class Peer:
    """The process that runs the checkout. A context manager, which ends it.

    Args:
        checkout: the folder that holds the package ``ssd``.

    Raises:
        NotMeasuredError: there is no such package, or it cannot be imported; the message says why.
    """

    def __init__(self, checkout: Path):
        checkout = checkout.resolve()
        if not (checkout / "ssd" / "config").is_dir():
            raise NotMeasuredError(
                f"--peer {checkout}: holds no package ssd; give the folder of a lufficc/SSD checkout"
            )
        self._folder = tempfile.TemporaryDirectory()
        self._count = 0
        command = [sys.executable, str(_CHILD), str(checkout), str(torch.get_num_threads())]
        environment = environment_with(checkout)
        self._process = subprocess.Popen(
            command, env=environment, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self._read()
        except NotMeasuredError:
            self.close()
            raise

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process and remove its inputs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=30)
        self._folder.cleanup()

    def timer(self, task: str, arrays: Mapping[str, Array], **options: str) -> Timer:
        """Make a timer of a task.

        Args:
            task: one of TASKS in ``peer_child.py``.
            arrays: its inputs.
            options: further ones.
        """
        self._count += 1
        path = Path(self._folder.name, f"{self._count}.npz")
        np.savez(path, **{name: _to_numpy(array) for name, array in arrays.items()})  # type: ignore[arg-type]
        request = {"task": task, "inputs": str(path), "options": options}

        def timer(calls: int) -> float:
            self._write({**request, "calls": calls})
            return float(self._read()["seconds"])

        return timer

    def _write(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise NotMeasuredError("its process has ended") from error

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise NotMeasuredError(f"its process has ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise NotMeasuredError(answer["error"])
        return answer


def _to_numpy(array: Array) -> np.ndarray:
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else array
