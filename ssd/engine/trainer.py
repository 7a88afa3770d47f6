"""The training loop."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ssd.engine.interrupt import InterruptGuard
from ssd.engine.monitor import TrainingMonitor
from ssd.structures import Container
from ssd.utils.checkpoint import Checkpointer

logger = logging.getLogger(__name__)

Batch = tuple[Tensor, Container, Tensor]
BatchTransform = Callable[[Tensor, Container | None, int | None], Tensor]


@dataclass(frozen=True)
class Periods:
    """What happens every how many iterations; 0 or less is never."""

    log: int = 10
    save: int = 2500
    evaluate: int = 2500


def train(
    model: nn.Module,
    data_loader: Iterable[Batch],
    batch_transform: BatchTransform,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    *,
    start_iteration: int,
    max_iter: int,
    periods: Periods,
    monitor: TrainingMonitor,
    checkpointer: Checkpointer,
    evaluate: Callable[[int], None],
) -> bool:
    """Train from ``start_iteration`` to ``max_iter``.

    Args:
        model: maps (images, targets) to a dict of losses; its parameters tell the device.
        data_loader: yields the batches of the remaining iterations: uint8 images (B, 3, H, W),
            targets, indices.
        batch_transform: distorts and normalises images on the device, from (images, targets, iteration).
        optimizer: steps once an iteration.
        scheduler: likewise, after it.
        start_iteration: completed iterations.
        max_iter: iterations at the end.
        periods: when to log, save and evaluate.
        monitor: told of every step.
        checkpointer: saves "model_XXXXXX" periodically and "model_final" at the end.
        evaluate: called with the completed iterations; not at the end.

    Returns:
        Whether the end was reached; False after Ctrl-C, which saves first.

    Raises:
        TrainingError: the loss is no longer finite (noticed when logging or saving).
    """
    device = next(model.parameters()).device
    model.train()
    batches = iter(data_loader)
    with InterruptGuard() as interrupt:
        for iteration in range(start_iteration + 1, max_iter + 1):
            started = time.perf_counter()
            images, targets, _ = next(batches)
            images, targets = images.to(device, non_blocking=True), targets.to(device, non_blocking=True)
            data_time = time.perf_counter() - started

            losses = model(batch_transform(images, targets, iteration - 1), targets)  # counted from 0, as the loader
            total_loss = torch.stack(list(losses.values())).sum()
            optimizer.zero_grad()
            total_loss.backward()
            optimizer.step()
            lr = float(scheduler.get_last_lr()[0])
            scheduler.step()

            monitor.update({"total_loss": total_loss, **losses}, len(images), data_time, time.perf_counter() - started)
            if _is_due(iteration, periods.log) or iteration == max_iter:
                monitor.log(iteration, lr)
            if _is_due(iteration, periods.save) or interrupt.requested:
                monitor.check_finite(iteration)
                checkpointer.save(f"model_{iteration:06d}", iteration=iteration)
            if interrupt.requested:
                return False
            if _is_due(iteration, periods.evaluate) and iteration < max_iter:
                evaluate(iteration)
                model.train()
    monitor.check_finite(max_iter)
    checkpointer.save("model_final", iteration=max_iter)
    return True


def _is_due(iteration: int, period: int) -> bool:
    return period > 0 and iteration % period == 0
