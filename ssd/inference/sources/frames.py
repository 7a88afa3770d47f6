"""Frames of a source, and decoding them in threads while the network works."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol, TypeVar, runtime_checkable

import numpy as np

from ssd.utils.errors import ImageError

T = TypeVar("T")


class VideoInfo(NamedTuple):
    """Header of a video."""

    name: str  # path, address without password, or "camera 0"
    frame_rate: float  # frames per second, on average; 0 = unknown
    num_frames: int | None  # None = unknown, or without end (a camera)
    size: tuple[int, int]  # (width, height) in pixels, upright


@dataclass(frozen=True, eq=False)
class Frame:
    """A decoded image."""

    image: np.ndarray  # RGB uint8, (H, W, 3)
    name: str  # path, address, "image 3" or "street.mp4, frame 17"; numbers start at 0
    path: Path | None = None  # image file, if it was read from one
    index: int = 0  # number of the frame in its video, otherwise in the source
    video: VideoInfo | None = None  # video that the frame belongs to, if any
    time: float | None = None  # seconds from the start of the video; None = unknown


class PendingFrame(NamedTuple):
    """An image that is not decoded yet; ``read`` decodes it in any thread, or raises ImageError."""

    name: str
    read: Callable[[], Frame]


@runtime_checkable
class Source(Protocol):
    """Images in order. A source can be iterated again, unless it wraps an iterator or a camera."""

    @property
    def num_frames(self) -> int | None:
        """Number of frames; None = unknown."""

    def __iter__(self) -> Iterator[PendingFrame]:
        """Yield the frames; only those of videos are decoded here, since they depend on each other."""


def failed_frame(name: str, error: ImageError) -> PendingFrame:
    """Return a frame whose ``read`` raises ``error``."""

    def read() -> NoReturn:
        raise error

    return PendingFrame(name, read)


def read_ahead(
    source: Source, prepare: Callable[[Frame], T], num_threads: int, depth: int
) -> Generator[T | ImageError, None, None]:
    """Yield ``prepare(frame)`` for every frame of ``source`` in order, or the ImageError of an unreadable frame.

    One thread iterates the source, which decodes videos; ``num_threads`` others read and prepare images. Closing the
    generator, or an error in it, ends the threads. ``depth`` is the number of frames in progress or waiting.
    """
    frames = iter(source)
    # Threads wait for steps, never for the consumer, so an unfinished generator does not block the interpreter's exit.
    walker = ThreadPoolExecutor(1, thread_name_prefix="ssd-walk")
    readers = ThreadPoolExecutor(num_threads, thread_name_prefix="ssd-read")

    def read_next() -> Future[T] | None:
        pending = next(frames, None)
        return None if pending is None else readers.submit(lambda: prepare(pending.read()))

    try:
        steps = deque(walker.submit(read_next) for _ in range(depth))
        while (reading := steps.popleft().result()) is not None:
            result = _result_of(reading)
            del reading  # it holds the result, which the consumer may release before the next one
            steps.append(walker.submit(read_next))
            yield result
            del result
    finally:
        walker.shutdown(cancel_futures=True)
        readers.shutdown(cancel_futures=True)
        if isinstance(frames, Generator):
            frames.close()  # releases a camera now, not at garbage collection


def _result_of(reading: Future[T]) -> T | ImageError:
    try:
        return reading.result()
    except ImageError as error:
        return error
