"""Timing of candidates in turns, and of those that cannot run."""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ssd.deploy.latency import Effort, measure_latency, take_turns
from ssd.utils.errors import MissingPackageError

IMAGES = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
QUICK = Effort(rounds=3, seconds=0.0)


class Clock:
    """A clock that advances by calls alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 0.0
        self.log: list[str] = []
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def work(self, name: str, seconds: float) -> Callable[..., None]:
        def call(*_: object) -> None:
            self.log.append(name)
            self.now += seconds

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_turns(clock: Clock) -> None:
    """Each turn of 0.25 s has a call that is not timed; the order alternates."""
    calls = {"a": clock.work("a", 0.125), "b": clock.work("b", 0.5)}
    rounds = take_turns(calls, Effort(rounds=2, seconds=0.25))
    assert "".join(clock.log) == "aa" + "bb" + "aaa" + "bb" + "bb" + "aaa"
    assert rounds == {"a": [0.125] * 2, "b": [0.5] * 2}


def test_the_limit_cuts_rounds_but_not_below_three(clock: Clock) -> None:
    """A round is two calls of half a second."""
    assert len(take_turns({"a": clock.work("a", 0.5)}, Effort(9, 0, limit=5.0))["a"]) == 5
    assert len(take_turns({"a": clock.work("a", 0.5)}, Effort(9, 0, limit=0.0))["a"]) == 3


def test_ratios_are_taken_round_by_round(clock: Clock) -> None:
    """A machine that gets ten times slower does not change them."""
    speeds = iter([1.0] * 6 + [10.0] * 4 + [100.0] * 4 + [1000.0] * 4)  # six calls come before the rounds

    def work(seconds: float) -> Callable[[Tensor], None]:
        return lambda _: clock.work("", seconds * next(speeds))()

    candidates = {"one": lambda _: work(1.0), "two": lambda _: work(2.0)}
    rows = measure_latency(candidates, IMAGES, [1], Effort(rounds=3, seconds=0))
    assert [row.ratio for row in rows] == [1.0, 2.0]


def test_candidates_that_cannot_run_have_a_note(clock: Clock) -> None:
    """Without the first there are no ratios; errors that are bugs are raised."""

    def failing(error: Exception, *, when_made: bool = False) -> Callable[[int], Callable[[Tensor], None]]:
        def fail(_: object) -> None:
            raise error

        return fail if when_made else lambda _: fail  # type: ignore[return-value]

    missing = failing(MissingPackageError("openvino cannot be imported; install it"), when_made=True)
    broken = failing(RuntimeError("no compiler\nmany more lines"))
    candidates = {"works": lambda _: clock.work("", 0.25), "missing": missing, "broken": broken}
    works, absent, failed = measure_latency(candidates, IMAGES, [1], QUICK)
    assert (works.milliseconds, works.ratio, works.note) == (250, 1.0, "")
    assert (absent.milliseconds, absent.ratio, absent.note) == (None, None, "openvino cannot be imported; install it")
    assert failed.note == "no compiler"

    candidates = {"1": failing(ImportError(), when_made=True), "2": lambda _: clock.work("", 0.5)}
    first, second = measure_latency(candidates, IMAGES, [1], QUICK)
    assert (first.note, second.milliseconds, second.ratio) == ("ImportError", 500, None)
    with pytest.raises(KeyError):
        measure_latency({"a": failing(KeyError("boxes"))}, IMAGES, [1], QUICK)


def test_threads() -> None:
    """Candidates get their number, PyTorch has it while they run, and then what it had before."""
    before = torch.get_num_threads()
    seen = []

    def make(num_threads: int) -> Callable[[Tensor], None]:
        return lambda images: seen.append((num_threads, torch.get_num_threads(), images is IMAGES))

    rows = measure_latency({"a": make}, IMAGES, [1, before + 1], QUICK)
    assert [row.num_threads for row in rows] == [1, before + 1]
    assert set(seen) == {(1, 1, True), (before + 1, before + 1, True)}
    assert torch.get_num_threads() == before
