"""The training step as a script takes it that sets nothing: contiguous memory, the C library's default allocation.

Allocation is a matter of the whole process, so this one has its own:
``python -m benchmarks.default_allocation THREADS BATCH_SIZE CONFIG [KEY VALUE ...]`` reads numbers of steps from
standard input and answers each with the seconds that they took. It takes turns with ours like any other timer.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks import library
from benchmarks.inputs import make_images, make_targets
from benchmarks.processes import environment_with
from benchmarks.timing import NotMeasuredError, Timer, make_timer


@contextlib.contextmanager
def default_allocation_timer(config: str, batch_size: int, options: tuple[Any, ...] = ()) -> Iterator[Timer]:
    """Start the process of a config and yield its timer.

    Args:
        config: name of a shipped config.
        batch_size: B.
        options: overrides of its keys.
    """
    arguments = [str(argument) for argument in (torch.get_num_threads(), batch_size, config, *options)]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.default_allocation", *arguments],
        env=environment_with(library.ROOT),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        requests, answers = process.stdin, process.stdout

        def timer(calls: int) -> float:
            with contextlib.suppress(BrokenPipeError):  # then there is no answer either
                requests.write(f"{calls}\n")
                requests.flush()
            answer = answers.readline()
            if not answer:
                raise NotMeasuredError(f"its process has ended with status {process.wait()}")
            return float(answer)

        yield timer  # the process ends with its standard input


def _serve(threads: int, batch_size: int, config: str, *options: str) -> None:
    torch.set_num_threads(threads)
    cfg = library.read_config(config, *options, "SOLVER.AMP", "off")
    device = torch.device("cpu")
    step = library.TrainingStep(cfg, device, channels_last=False)
    images, targets = make_images(batch_size, cfg.INPUT.IMAGE_SIZE, device) - 0.5, make_targets(batch_size, 21, device)
    timer = make_timer(lambda: step(images, targets))
    for line in sys.stdin:
        sys.stdout.write(f"{timer(int(line))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
