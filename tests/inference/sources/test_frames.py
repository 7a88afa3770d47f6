import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ssd.inference.sources import Frame, PendingFrame, open_source, read_ahead
from ssd.utils.errors import ImageError


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ssd-")]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    assert own_threads() == []
    yield
    assert own_threads() == []


class Numbers:
    """A source of frames that take ``seconds(number)`` to read."""

    def __init__(self, count: int, seconds: Callable[[int], float] = lambda _: 0.0):
        self.num_frames = count
        self.seconds = seconds
        self.num_pulled = 0

    def __iter__(self) -> Iterator[PendingFrame]:
        for number in range(self.num_frames):
            self.num_pulled += 1
            yield PendingFrame(str(number), lambda number=number: self._read(number))

    def _read(self, number: int) -> Frame:
        time.sleep(self.seconds(number))
        return Frame(np.zeros((4, 4, 3), np.uint8), str(number), index=number)


def index_of(frame: Frame) -> int:
    return frame.index


@pytest.mark.parametrize("num_threads", [1, 4])
@pytest.mark.parametrize("depth", [1, 3, 16])
def test_all_frames_in_order(num_threads: int, depth: int) -> None:
    uneven = np.random.default_rng(0).uniform(0, 2e-3, 40)
    for count in (0, 1, 40):
        source = Numbers(count, seconds=lambda number: uneven[number])
        assert list(read_ahead(source, index_of, num_threads, depth)) == list(range(count))


def test_bad_frames_yield_their_errors_in_their_place() -> None:
    def fail(number: int) -> float:
        if number in (0, 3, 4, 7):
            raise ImageError(f"{number} is bad")
        return 0

    results = list(read_ahead(Numbers(8, fail), index_of, 3, 4))
    assert list(map(str, results)) == ["0 is bad", "1", "2", "3 is bad", "4 is bad", "5", "6", "7 is bad"]


def test_frames_are_prepared_at_the_same_time_in_other_threads() -> None:
    barrier = threading.Barrier(4, timeout=10)
    names = set()

    def prepare(frame: Frame) -> int:
        barrier.wait()
        names.add(threading.current_thread().name)
        return frame.index

    assert list(read_ahead(Numbers(8), prepare, 4, 4)) == list(range(8))
    assert len(names - {threading.current_thread().name}) == 4


def test_no_more_frames_than_the_depth_are_under_way() -> None:
    source = Numbers(100)
    results = read_ahead(source, index_of, 2, 5)
    for number in range(20):
        assert next(results) == number
        time.sleep(0.002)
        assert source.num_pulled <= number + 1 + 5
    results.close()


def test_closing_ends_the_threads_and_the_source() -> None:
    closed = []

    def endless() -> Iterator[np.ndarray]:
        try:
            while True:
                yield np.zeros((2, 2), np.uint8)
        finally:
            closed.append(True)

    results = read_ahead(open_source(endless()), index_of, 3, 6)
    assert next(results) == 0
    assert len(own_threads()) >= 2
    results.close()
    assert own_threads() == []
    del results
    assert closed == [True]


@pytest.mark.parametrize("where", ["source", "read", "prepare"])
def test_other_errors_reach_the_consumer(where: str) -> None:
    def fail(place: str, number: int) -> int:
        return 1 // (place != where or number != 3)

    class Broken(Numbers):
        def __iter__(self) -> Iterator[PendingFrame]:
            for number, pending in enumerate(super().__iter__()):
                fail("source", number)
                yield pending

    source = Broken(50, seconds=lambda number: fail("read", number) / 1000)
    results = read_ahead(source, lambda frame: frame.index * fail("prepare", frame.index), 2, 8)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert own_threads() == []
    assert list(results) == []


def test_an_unfinished_iterator_does_not_hold_up_the_end_of_the_program() -> None:
    code = """
import numpy as np
from ssd.inference.sources import open_source, read_ahead
results = read_ahead(open_source(np.zeros((2, 2), np.uint8) for _ in range(10**9)), lambda frame: frame, 2, 4)
next(results)
print("end")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (run.stdout, run.stderr) == ("end\n", "")
