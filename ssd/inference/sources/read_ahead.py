"""Decoding in threads while the network works, in order and with bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from ssd.inference.sources.frames import Frame, PendingFrame, Source
from ssd.utils.errors import ImageError

T = TypeVar("T")


def read_ahead(
    source: Source, prepare: Callable[[Frame], T], num_threads: int, depth: int
) -> Generator[T | ImageError, None, None]:
    """Yield ``prepare(frame)`` of every frame of ``source``, in order.

    One thread walks through the source, which decodes videos; ``num_threads`` others read images and prepare them.
    Closing the iterator, or an error in it, ends the threads.

    Args:
        source: gives the frames.
        prepare: what to do with each in its thread.
        num_threads: images that are read at the same time.
        depth: frames that are under way or wait, beside the one that was yielded last.

    Yields:
        What ``prepare`` returned, or the ImageError of a frame that could not be read.

    Raises:
        Exception: what the source's iterator, or ``prepare``, raised beside ImageError.
    """
    frames = iter(source)
    # Steps wait in queues and threads wait for steps, never for the consumer: an iterator that is left unfinished
    # cannot hold up the end of the program.
    walker = ThreadPoolExecutor(1, thread_name_prefix="ssd-walk")
    readers = ThreadPoolExecutor(num_threads, thread_name_prefix="ssd-read")
    step = partial(_submit_next, frames, readers, prepare)
    try:
        steps = deque(walker.submit(step) for _ in range(depth))
        while (reading := steps.popleft().result()) is not None:
            result = _result(reading)
            del reading  # it holds the result, which the consumer may be done with before it asks for the next
            steps.append(walker.submit(step))
            yield result
            del result
    finally:
        walker.shutdown(cancel_futures=True)
        readers.shutdown(cancel_futures=True)
        if isinstance(frames, Generator):
            frames.close()  # releases a camera now, not when it is collected


def _submit_next(
    frames: Iterator[PendingFrame], readers: ThreadPoolExecutor, prepare: Callable[[Frame], T]
) -> Future[T] | None:
    """Have the next frame read; None = there is none."""
    pending = next(frames, None)
    return None if pending is None else readers.submit(_read, pending, prepare)


def _read(pending: PendingFrame, prepare: Callable[[Frame], T]) -> T:
    return prepare(pending.read())


def _result(reading: Future[T]) -> T | ImageError:
    try:
        return reading.result()
    except ImageError as error:
        return error
