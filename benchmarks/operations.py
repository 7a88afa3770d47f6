"""The floor of a network: its operations over the rate at which the device multiplies matrices."""

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import Timer

_SIDES = {"cuda": 8192, "cpu": 1024}  # of the matrices whose products measure the peak


def count_operations(function: Callable[[], object]) -> int:
    """Count the floating-point operations of the matrix products and convolutions in one call; a product and a sum
    count as two."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def make_floor_timer(operations: int, device: torch.device, dtype: torch.dtype) -> Timer:
    """Make a timer that says how long ``operations`` take at the device's matrix peak.

    It measures the peak anew each time, by square matrix products of random numbers, so that it runs under the same
    conditions as the candidates it takes turns with.
    """
    side = _SIDES[device.type]
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))

    def timer(calls: int) -> float:
        products = max(2, min(50, round(calls * operations / (2 * side**3))))
        _synchronize(device)
        started = time.perf_counter()
        for _ in range(products):
            a @ b
        _synchronize(device)
        seconds = time.perf_counter() - started
        return calls * operations * seconds / (products * 2 * side**3)

    return timer


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
