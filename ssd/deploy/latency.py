"""How long does each way to run a detector take? Candidates take turns, so that a machine that slows down slows all."""

import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssd.utils.errors import SSDError
from ssd.utils.machine import available_cores, cpu_model, package_version

_PACKAGES = ("torch", "onnxruntime", "openvino")


class Candidate(NamedTuple):
    """A way to run the detector.

    Attributes:
        name: for the table.
        make: returns what is timed, a function of a uint8 batch, for a number of threads.
    """

    name: str
    make: Callable[[int], Callable[[Tensor], object]]


class Effort(NamedTuple):
    """How long to measure.

    Attributes:
        rounds: turns of each candidate, at most.
        seconds: length of one turn, at least one call.
        limit: seconds for all candidates with one number of threads; cuts the rounds, never below three.
    """

    rounds: int = 9
    seconds: float = 0.1
    limit: float = 20.0


@dataclass(frozen=True)
class Latency:
    """What one candidate took.

    Attributes:
        name: of the candidate.
        num_threads: that it ran on.
        milliseconds: a call, median over the rounds; None = it could not run.
        ratio: its time over that of the first candidate, median over the rounds; None likewise.
        note: why it could not run.
    """

    name: str
    num_threads: int
    milliseconds: float | None = None
    ratio: float | None = None
    note: str = ""


def measure_latency(
    candidates: Sequence[Candidate],
    images: Tensor,
    thread_counts: Sequence[int],
    effort: Effort = Effort(),  # noqa: B008  # frozen
) -> list[Latency]:
    """Time all candidates on one batch.

    Args:
        candidates: the first one is what the others are compared with.
        images: uint8 (B, 3, H, W) RGB, of the size of the network input.
        thread_counts: each is measured by itself.
        effort: how long.

    Returns:
        For each number of threads every candidate.
    """
    latencies: list[Latency] = []
    for num_threads in thread_counts:
        with _torch_threads(num_threads):
            calls, problems = _make_calls(candidates, images, num_threads)
            rounds = take_turns(calls, effort)
        medians = _medians(rounds, candidates[0].name)
        for name, _ in candidates:
            milliseconds, ratio = medians.get(name, (None, None))
            latencies.append(Latency(name, num_threads, milliseconds, ratio, problems.get(name, "")))
    return latencies


def take_turns(calls: Mapping[str, Callable[[], object]], effort: Effort) -> dict[str, list[float]]:
    """Return the seconds that a call of each function takes in every round."""
    repeats = {}
    round_seconds = 0.0
    for name, call in calls.items():
        seconds = max(_time(call, 1), 1e-9)
        repeats[name] = max(1, math.ceil(effort.seconds / seconds))
        round_seconds += (repeats[name] + 1) * seconds
    num_rounds = min(effort.rounds, max(3, int(effort.limit / max(round_seconds, 1e-9))))
    results: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in range(num_rounds):
        for name in order:
            results[name].append(_time(calls[name], repeats[name]))
        order.reverse()  # nobody always goes first
    return results


def describe_machine() -> dict[str, str | int]:
    """Return processor, cores and versions of what is compared."""
    machine: dict[str, str | int] = {
        "cpu": cpu_model(),
        "cores": available_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    return machine | {package: package_version(package) or "not installed" for package in _PACKAGES}


def _make_calls(
    candidates: Sequence[Candidate], images: Tensor, num_threads: int
) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
    """What to time, run once already, by name; and why the others cannot run."""
    calls: dict[str, Callable[[], object]] = {}
    problems: dict[str, str] = {}
    for name, make in candidates:
        try:
            call = _on(make(num_threads), images)
            call()
        except (SSDError, ImportError, RuntimeError) as error:  # errors of PyTorch and OpenVINO are RuntimeErrors
            problems[name] = str(error).strip().partition("\n")[0] or type(error).__name__
        else:
            calls[name] = call
    return calls, problems


def _on(network: Callable[[Tensor], object], images: Tensor) -> Callable[[], object]:
    return lambda: network(images)


def _time(call: Callable[[], object], repeats: int) -> float:
    call()  # the threads of whoever ran before may still spin
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats


def _medians(rounds: Mapping[str, list[float]], first: str) -> dict[str, tuple[float, float | None]]:
    """Milliseconds and ratio to the first by name; the ratios are taken round by round."""
    base = rounds.get(first)
    return {
        name: (1000 * float(np.median(seconds)), float(np.median(np.divide(seconds, base))) if base else None)
        for name, seconds in rounds.items()
    }


@contextmanager
def _torch_threads(num_threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
