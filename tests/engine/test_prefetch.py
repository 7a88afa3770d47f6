from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from ssd.engine.prefetch import one_behind, prefetch
from ssd.structures import Container


def _batches(count: int):
    for number in range(count):
        images = torch.full((2, 3, 64, 64), number, dtype=torch.uint8)
        targets = Container(boxes=torch.full((2, 1, 4), float(number)), labels=torch.ones(2, 1, dtype=torch.int64))
        yield images, targets, torch.tensor([number, -number])


def test_on_a_cpu_batches_pass_through_one_by_one() -> None:
    taken = []

    def watched():
        for number, batch in enumerate(_batches(3)):
            taken.append(number)
            yield batch

    for number, (images, targets, ids) in enumerate(prefetch(watched(), torch.device("cpu"))):
        assert taken == list(range(number + 1))
        assert images.unique().tolist() == targets["boxes"].unique().tolist() == [number]
        assert ids.tolist() == [number, -number]
    assert len(taken) == 3


class Streams:
    """CUDA's streams without a GPU: ``log`` gets what the host starts, with the stream that it goes to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.log: list[str] = []
        self._current = ["main"]
        self._created = 0
        monkeypatch.setattr(torch.cuda, "Stream", self._create)
        monkeypatch.setattr(torch.cuda, "stream", self._enter)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream(self._current[-1], self))

    def start(self, work: str) -> None:
        self.log.append(f"{work} on {self._current[-1]}")

    def _create(self, _: torch.device) -> "Stream":
        self._created += 1
        return Stream(f"side {self._created}", self)

    @contextmanager
    def _enter(self, stream: "Stream") -> Iterator[None]:
        self._current.append(stream.name)
        yield
        self._current.pop()


class Stream:
    def __init__(self, name: str, streams: Streams):
        self.name, self.streams = name, streams

    def record_event(self) -> str:
        return f"{self.name} at {len(self.streams.log)}"

    def wait_event(self, event: str) -> None:
        self.streams.log.append(f"{self.name} waits for {event}")


class Images:
    """A tensor without numbers, in page-locked memory."""

    device = torch.device("cuda")

    def __init__(self, number: int, streams: Streams):
        self.number, self.streams = number, streams

    def to(self, device: torch.device, *, non_blocking: bool) -> "Images":
        assert device == self.device
        assert non_blocking
        self.streams.start(f"copy {self.number}")
        return self

    def record_stream(self, stream: Stream) -> None:
        assert stream.name == "main"


def test_on_cuda_evaluation_overlaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the network works, the next batch is loaded and copied, and the detections of the last are gathered."""
    streams, device = Streams(monkeypatch), torch.device("cuda")

    def load():
        for number in range(3):
            streams.log.append(f"load {number}")
            yield Images(number, streams), Container(), torch.tensor(number)

    def predict():
        for images, _, _ in prefetch(load(), device):
            streams.start(f"network {images.number}")
            yield images.number

    for number in one_behind(predict(), device):
        streams.start(f"gather {number}")
    assert streams.log == [
        *("load 0", "copy 0 on side 2", "load 1", "copy 1 on side 2"),
        *("main waits for side 2 at 2", "network 0 on main", "load 2", "copy 2 on side 2"),
        *("main waits for side 2 at 4", "network 1 on main", "side 1 waits for main at 6", "gather 0 on side 1"),
        *("main waits for side 2 at 8", "network 2 on main", "side 1 waits for main at 10", "gather 1 on side 1"),
        *("side 1 waits for main at 14", "gather 2 on side 1"),
    ]


def test_on_a_cpu_a_result_is_taken_at_once() -> None:
    results = iter("ab")
    assert next(iter(one_behind(results, torch.device("cpu")))) == "a"
    assert next(results) == "b"


@pytest.mark.gpu
@pytest.mark.parametrize("count", [0, 1, 5])
def test_on_cuda_batches_arrive_whole_and_in_order(count) -> None:
    pinned = ((images.pin_memory(), targets.pin_memory(), ids) for images, targets, ids in _batches(count))
    seen = []
    for images, targets, ids in prefetch(pinned, torch.device("cuda")):
        assert images.is_cuda
        assert targets["boxes"].is_cuda
        assert not ids.is_cuda
        torch.cuda._sleep(10**7)  # the next copy is there before this batch is done with
        seen.append((images.float().mean(), targets["boxes"].mean(), ids[0]))
    assert [tuple(map(int, row)) for row in seen] == [(number,) * 3 for number in range(count)]
