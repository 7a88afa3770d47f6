"""Timing of candidates, and of those that cannot run."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ssd.deploy.latency import measure_latency
from ssd.utils.errors import MissingPackageError

IMAGES = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)


def test_times_and_threads() -> None:
    """Candidates get their number of threads, PyTorch has it while they run, and then what it had before."""
    before = torch.get_num_threads()
    seen, times = [], defaultdict(list)

    def make(num_threads: int) -> Callable[[Tensor], None]:
        def call(images: Tensor) -> None:
            started = time.perf_counter()
            time.sleep(0.005)
            times[num_threads].append(1000 * (time.perf_counter() - started))
            seen.append((num_threads, torch.get_num_threads(), images is IMAGES))

        return call

    rows = measure_latency({"a": make}, IMAGES, [1, before + 1], seconds=0.02)
    assert [row.num_threads for row in rows] == [1, before + 1]
    assert all(row.milliseconds == pytest.approx(statistics.median(times[row.num_threads]), rel=0.5) for row in rows)
    assert set(seen) == {(1, 1, True), (before + 1, before + 1, True)}
    assert torch.get_num_threads() == before


def test_candidates_that_cannot_run_have_a_note() -> None:
    """Errors that are bugs are raised."""

    def failing(error: Exception) -> Callable[[int], Callable[[Tensor], None]]:
        def fail(_: object) -> None:
            raise error

        return lambda _: fail

    def missing(_: int) -> Callable[[Tensor], None]:
        raise MissingPackageError("openvino cannot be imported; install it")

    candidates = {"works": lambda _: torch.sum, "missing": missing, "1": failing(ImportError())}
    candidates["broken"] = failing(RuntimeError("no compiler\nmany more lines"))
    works, *others = measure_latency(candidates, IMAGES, [1], seconds=0)
    assert (works.milliseconds is not None, works.note) == (True, "")
    assert [row.milliseconds for row in others] == [None] * 3
    assert [row.note for row in others] == ["openvino cannot be imported; install it", "ImportError", "no compiler"]
    with pytest.raises(KeyError):
        measure_latency({"a": failing(KeyError("boxes"))}, IMAGES, [1])
