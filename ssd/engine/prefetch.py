"""Batches on the device, copied one batch ahead, and results of the device, taken one batch behind."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from ssd.structures import Container

Batch = tuple[Tensor, Container, Tensor]
_T = TypeVar("_T")


def prefetch(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield each batch (images, targets, ids) with images and targets on ``device``.

    On CUDA the copies run on a separate stream, one batch ahead. They overlap with the work on the batch before if the
    loader's memory is page-locked (DATA_LOADER.PIN_MEMORY).
    """
    return _prefetch_cuda(batches, device) if device.type == "cuda" else (_move(batch, device) for batch in batches)


def _prefetch_cuda(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    stream = torch.cuda.Stream(device)
    waiting: tuple[Batch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(stream):
            copied = _move(batch, device)
            done = stream.record_event()
        if waiting:
            yield _receive(*waiting)
        waiting = copied, done
    if waiting:
        yield _receive(*waiting)


def _receive(batch: Batch, done: torch.cuda.Event) -> Batch:
    """Make the current stream wait for the copy, and keep its memory until that stream has used it."""
    images, targets, _ = batch
    current = torch.cuda.current_stream(images.device)
    current.wait_event(done)
    for tensor in (images, *(targets[name] for name in targets)):
        tensor.record_stream(current)
    return batch


def _move(batch: Batch, device: torch.device) -> Batch:
    images, targets, ids = batch
    return images.to(device, non_blocking=True), targets.to(device, non_blocking=True), ids


def one_behind(results: Iterable[_T], device: torch.device) -> Iterator[_T]:
    """Yield each result after the work for the next one has been started.

    On CUDA the body of the loop that takes them runs on a separate stream: it waits for its result alone, while the
    device works on the next. It must be done with a result when it asks for another.
    """
    if device.type != "cuda":
        yield from results
        return
    stream = torch.cuda.Stream(device)
    waiting: tuple[_T, torch.cuda.Event] | None = None
    for result in results:
        done = torch.cuda.current_stream(device).record_event()
        if waiting:
            yield from _on_stream(stream, *waiting)
        waiting = result, done
    if waiting:
        yield from _on_stream(stream, *waiting)


def _on_stream(stream: torch.cuda.Stream, result: _T, done: torch.cuda.Event) -> Iterator[_T]:
    stream.wait_event(done)
    with torch.cuda.stream(stream):
        yield result
