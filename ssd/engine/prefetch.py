"""Batches on the device, copied one batch ahead."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ssd.structures import Container

Batch = tuple[Tensor, Container, Tensor]


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
