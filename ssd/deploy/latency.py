"""Latency of ways to run a detector. They take turns, so that a machine that slows down slows all of them."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssd.utils.errors import SSDError

Candidates = Mapping[str, Callable[[int], Callable[[Tensor], object]]]  # number of threads -> the function to time
Call = Callable[[], object]


class Effort(NamedTuple):
    """Length of a measurement."""

    rounds: int = 9  # turns of each candidate, at most
    seconds: float = 0.1  # of a turn, at least one call
    limit: float = 20.0  # seconds for all candidates with one number of threads; cuts the rounds, never below three


@dataclass(frozen=True)
class Latency:
    """Latency of one candidate; None if it could not run, with the reason as note."""

    name: str
    num_threads: int
    milliseconds: float | None = None  # of a call, median over the rounds
    ratio: float | None = None  # to the duration of the first candidate, median over the rounds
    note: str = ""


def measure_latency(
    candidates: Candidates,
    images: Tensor,
    thread_counts: Sequence[int],
    effort: Effort = Effort(),  # noqa: B008  # frozen
) -> list[Latency]:
    """Time candidates on a batch, uint8 (B, 3, S_h, S_w) RGB; the first is the reference of the ratios."""
    latencies: list[Latency] = []
    for num_threads in thread_counts:
        before = torch.get_num_threads()
        torch.set_num_threads(num_threads)
        try:
            made = {name: _make_call(make, images, num_threads) for name, make in candidates.items()}
            rounds = take_turns({name: call for name, call in made.items() if not isinstance(call, str)}, effort)
        finally:
            torch.set_num_threads(before)
        first = rounds.get(next(iter(candidates)))
        for name, call in made.items():
            if isinstance(call, str):
                latencies.append(Latency(name, num_threads, note=call))
                continue
            ratio = float(np.median(np.divide(rounds[name], first))) if first else None
            latencies.append(Latency(name, num_threads, 1000 * float(np.median(rounds[name])), ratio))
    return latencies


def take_turns(calls: Mapping[str, Call], effort: Effort) -> dict[str, list[float]]:
    """Return the seconds per call of each function in every round."""
    seconds = {name: max(_time(call, 1), 1e-9) for name, call in calls.items()}
    repeats = {name: max(1, math.ceil(effort.seconds / seconds[name])) for name in calls}
    round_seconds = sum((repeats[name] + 1) * seconds[name] for name in calls)
    num_rounds = min(effort.rounds, max(3, int(effort.limit / max(round_seconds, 1e-9))))
    results: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in range(num_rounds):
        for name in order:
            results[name].append(_time(calls[name], repeats[name]))
        order.reverse()  # so that none is always first
    return results


def _make_call(make: Callable[[int], Callable[[Tensor], object]], images: Tensor, num_threads: int) -> Call | str:
    """Load a candidate and run it once; return the function to time, or the reason of a failure."""
    try:
        call = partial(make(num_threads), images)
        call()
    except (SSDError, ImportError, RuntimeError) as error:  # PyTorch and OpenVINO raise RuntimeError
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return call


def _time(call: Call, repeats: int) -> float:
    call()  # threads of the previous candidate may still be busy
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats
