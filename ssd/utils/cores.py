"""How much of the machine this process may use."""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")

_CGROUP = Path("/sys/fs/cgroup")
_QUEUED = 1024  # rows given to the threads at a time


def available_cores() -> int:
    """Return how many cores this process may be scheduled on, or of how many it gets the time, whichever is less.

    A container may show all cores of its machine and get the time of a few (``docker run --cpus 2``).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return min(cores, _time_share(_CGROUP) or cores)


def map_rows(function: Callable[[int], T], num_rows: int, num_threads: int) -> Iterator[T]:
    """Yield the results of a function for rows 0, 1, ... in order; a million rows are not queued at once."""
    with ThreadPoolExecutor(num_threads) as pool:
        for start in range(0, num_rows, _QUEUED):
            yield from pool.map(function, range(start, min(start + _QUEUED, num_rows)))


def limit_threads() -> None:
    """Let PyTorch compute in no more threads than ``available_cores``: it does not know of a container's share."""
    if torch.get_num_threads() > available_cores():
        torch.set_num_threads(available_cores())


def _time_share(cgroup: Path) -> int | None:
    """Cores whose time the control group gets, rounded up; None if there is no limit, or no control group."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()  # version 2: "200000 100000", or "max 100000"
    except (OSError, ValueError):
        try:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    try:
        cores = math.ceil(int(quota) / int(period))
    except (ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None  # version 1 writes -1 for no limit
