"""Latency of ways to run a detector."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ssd.utils.errors import SSDError

Candidates = Mapping[str, Callable[[int], Callable[[Tensor], object]]]  # number of threads -> the function to time

_SECONDS = 1.0  # of a candidate


@dataclass(frozen=True)
class Latency:
    """Latency of one candidate; None if it could not run, with the reason as note."""

    name: str
    num_threads: int
    milliseconds: float | None = None  # of a call, median
    note: str = ""


def measure_latency(
    candidates: Candidates, images: Tensor, thread_counts: Sequence[int], seconds: float = _SECONDS
) -> list[Latency]:
    """Time candidates on a batch, uint8 (B, 3, S_h, S_w) RGB, each for about so many seconds."""
    return [_measure(name, make, images, n, seconds) for n in thread_counts for name, make in candidates.items()]


def _measure(
    name: str, make: Callable[[int], Callable[[Tensor], object]], images: Tensor, num_threads: int, seconds: float
) -> Latency:
    from torch.utils.benchmark import Timer  # warns where there is nvcc and no GPU: only those who measure see it

    try:
        call = make(num_threads)
        timer = Timer("call(images)", globals={"call": call, "images": images}, num_threads=num_threads)
        median = timer.blocked_autorange(min_run_time=seconds).median
    except (SSDError, ImportError, RuntimeError) as error:  # PyTorch and OpenVINO raise RuntimeError
        return Latency(name, num_threads, note=str(error).strip().partition("\n")[0] or type(error).__name__)
    return Latency(name, num_threads, 1000 * median)
