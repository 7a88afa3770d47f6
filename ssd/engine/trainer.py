"""The training loop."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ssd.engine.interrupt import InterruptGuard
from ssd.engine.monitor import TrainingMonitor
from ssd.engine.prefetch import Batch, prefetch
from ssd.engine.step import StepOptions, step
from ssd.structures import Container
from ssd.utils.checkpoint import Checkpointer

logger = logging.getLogger(__name__)

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
    options: StepOptions = StepOptions(),  # noqa: B008  # frozen
) -> bool:
    """Train from ``start_iteration`` completed iterations to ``max_iter``; only log, save and evaluate wait for a GPU.

    Args:
        batch_transform: prepares images on the device, given (images, targets, iteration from 0).
        checkpointer: saves "model_XXXXXX" periodically and "model_final" at the end.
        evaluate: called with the completed iterations; not at the end.

    Returns:
        Whether the end was reached; False after Ctrl-C, which saves first.

    Raises:
        TrainingError: the loss is no longer finite.
    """
    device = next(model.parameters()).device
    model.train()
    with InterruptGuard() as interrupt:
        batches = monitor.watch(prefetch(data_loader, device))
        for iteration, (images, targets, _) in enumerate(batches, start=start_iteration + 1):
            losses = step(model, optimizer, batch_transform(images, targets, iteration - 1), targets, options)
            options.update_average(iteration)
            monitor.end_step(losses, len(images), lr=scheduler.get_last_lr()[0])
            scheduler.step()
            if is_due(iteration, periods.log) or iteration == max_iter:
                monitor.log(iteration)
            if is_due(iteration, periods.save) or interrupt.requested:
                _save(checkpointer, monitor, f"model_{iteration:06d}", iteration)
            if interrupt.requested:
                logger.warning("Interrupted after iteration %d; the same command continues from there", iteration)
                return False
            if is_due(iteration, periods.evaluate) and iteration < max_iter:
                evaluate(iteration)
                model.train()
    if start_iteration < max_iter:
        _save(checkpointer, monitor, "model_final", max_iter)
    return True


def _save(checkpointer: Checkpointer, monitor: TrainingMonitor, name: str, iteration: int) -> None:
    monitor.check_finite(iteration)  # a broken model is no place to continue from
    checkpointer.save(name, iteration=iteration)


def is_due(iteration: int, period: int) -> bool:
    """Whether something that happens every ``period`` iterations happens after this one; never for 0 or less."""
    return period > 0 and iteration % period == 0
