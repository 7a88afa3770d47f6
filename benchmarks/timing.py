"""Paired timing: candidates take turns, round by round, so that a machine that slows down slows all of them.

A timer is a function from a number of calls to the seconds that they took; where the calls run (here, on a GPU, in
another process) is its own affair.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

Timer = Callable[[int], float]

_MIN_ROUNDS = 3


class NotMeasuredError(Exception):
    """A candidate cannot run here; the message says why. The others are measured without it."""


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: turns of each candidate, at most.
        seconds: length of one turn, at least.
        limit: seconds that a comparison may take; cuts the rounds, never below three.
    """

    rounds: int = 9
    seconds: float = 0.3
    limit: float = 15.0


QUICK = Effort(rounds=1, seconds=0.0, limit=0.0)


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over the rounds."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Return the quartiles of ``values``."""
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        return cls(low, median, high)


@dataclass(frozen=True)
class Row:
    """One candidate of a comparison.

    Attributes:
        name: what ran.
        value: in the unit of the comparison.
        ratio: what ours takes over what this takes, round by round; None for ours itself.
        rounds: the values of all rounds.
    """

    name: str
    value: Spread
    ratio: Spread | None = None
    rounds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """Candidates that answer one question; the first one is ours.

    Attributes:
        title: the question.
        unit: of the values, such as "ms/image". Less is better.
        rows: what was measured.
        facts: further figures by name.
        notes: what was not measured, and why.
    """

    title: str
    unit: str
    rows: list[Row]
    facts: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def make_timer(function: Callable[[], object], wait: Callable[[], object] | None = None) -> Timer:
    """Make a timer of a function without arguments.

    Args:
        function: what to call.
        wait: returns when all that was started is done; called before and after the calls.
    """

    def timer(calls: int) -> float:
        if wait:
            wait()
        started = time.perf_counter()
        for _ in range(calls):
            function()
        if wait:
            wait()
        return time.perf_counter() - started

    return timer


def compare(
    title: str, timers: Mapping[str, Timer], effort: Effort, *, items: int = 1, item: str = "image"
) -> Comparison:
    """Measure candidates in turns.

    Args:
        title: the question.
        timers: by name of the candidate, ours first.
        effort: how long.
        items: that one call handles.
        item: what they are.

    Returns:
        The comparison, in milliseconds an item.

    Raises:
        NotMeasuredError: ours cannot run.
    """
    seconds_per_call, notes = _warm_up(timers)
    ours = next(iter(timers))
    if ours not in seconds_per_call:
        raise NotMeasuredError("; ".join(notes))
    rounds = _take_turns(timers, seconds_per_call, effort)
    in_ms = {name: [1000 * seconds / items for seconds in values] for name, values in rounds.items()}
    rows = [
        Row(name, Spread.of(values), None if name == ours else _ratios(in_ms[ours], values), values)
        for name, values in in_ms.items()
    ]
    return Comparison(title, f"ms/{item}", rows, notes=notes)


def ratio_between(comparison: Comparison, first: str, second: str) -> float:
    """Return the median over rounds of what the candidate ``first`` takes over what ``second`` takes."""
    rounds = {row.name: row.rounds for row in comparison.rows}
    return _ratios(rounds[first], rounds[second]).median


def _ratios(first: list[float], second: list[float]) -> Spread:
    return Spread.of([a / b for a, b in zip(first, second, strict=True)])


def _warm_up(timers: Mapping[str, Timer]) -> tuple[dict[str, float], list[str]]:
    """Seconds of one call of each candidate after a first one, and a note for each that cannot run."""
    seconds, notes = {}, []
    for name, timer in timers.items():
        try:
            timer(1)
            seconds[name] = timer(1)
        except (NotMeasuredError, RuntimeError) as error:  # PyTorch's errors are RuntimeErrors
            notes.append(f"{name}: not measured: {error}")
    return seconds, notes


def _take_turns(
    timers: Mapping[str, Timer], seconds_per_call: Mapping[str, float], effort: Effort
) -> dict[str, list[float]]:
    """Seconds a call of each candidate in every round."""
    calls = {name: max(1, math.ceil(effort.seconds / max(each, 1e-9))) for name, each in seconds_per_call.items()}
    round_seconds = sum(calls[name] * each for name, each in seconds_per_call.items())
    num_rounds = min(effort.rounds, max(_MIN_ROUNDS, int(effort.limit / max(round_seconds, 1e-9))))
    results: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in range(num_rounds):
        for name in order:
            results[name].append(timers[name](calls[name]) / calls[name])
        order.reverse()  # nobody always goes first
    return results
