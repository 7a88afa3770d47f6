"""Work on every image of a dataset, by threads."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_CHUNK = 1024  # rows handed to the threads at a time


def map_rows(function: Callable[[int], T], num_rows: int, num_threads: int) -> Iterator[T]:
    """Yield what ``function`` gives for rows 0, 1, ..., in order.

    Like the map of an executor, without a future for each of a million rows at once.
    """
    with ThreadPoolExecutor(num_threads) as pool:
        for start in range(0, num_rows, _CHUNK):
            yield from pool.map(function, range(start, min(start + _CHUNK, num_rows)))
