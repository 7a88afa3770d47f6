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
from ssd.engine.seeding import seed_iteration
from ssd.engine.step import StepOptions, step
from ssd.structures import Container
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.distributed import Agreement, get_rank, get_world_size, is_main, wait_for_all

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
    check: Callable[[int], None],
    interrupt: InterruptGuard,
    seed: int,
    options: StepOptions = StepOptions(),  # noqa: B008  # frozen
) -> bool:
    """Train from ``start_iteration`` completed iterations to ``max_iter``; only log, save and evaluate wait for a GPU.

    Several processes run this side by side, each with its share of every batch.

    Args:
        batch_transform: prepares images on the device, given (images, targets, iteration from 0).
        checkpointer: saves "model_XXXXXX" periodically and "model_final" at the end.
        evaluate: called with the completed iterations; not at the end.
        check: raises TrainingError, given the completed iterations, if the training has diverged.
        interrupt: entered here; then has the signal that ended the training, whichever process got it.
        seed: of what the network draws, such as stochastic depth.

    Returns:
        Whether the end was reached; False after a signal, at which it saves first.

    Raises:
        TrainingError: the training has diverged.
    """
    device = next(model.parameters()).device
    agree = Agreement()
    with interrupt:
        if 0 < start_iteration < max_iter and is_due(start_iteration, periods.evaluate):
            evaluate(start_iteration)  # the run may have ended in the midst of it
        model.train()
        batches = monitor.watch(prefetch(data_loader, device))
        for iteration, (images, targets, _) in enumerate(batches, start=start_iteration + 1):
            seed_iteration(seed, iteration - 1, get_rank())
            losses = step(model, optimizer, batch_transform(images, targets, iteration - 1), targets, options)
            options.update_average(iteration)
            monitor.end_step(losses, len(images) * get_world_size(), lr=scheduler.get_last_lr()[0])
            scheduler.step()
            if is_due(iteration, periods.log) or iteration == max_iter:
                monitor.log(iteration)
                check(iteration)  # after the line, which shows the loss
            stop = agree(interrupt.signal or 0)
            if is_due(iteration, periods.save) or stop:
                check(iteration)  # a broken model is no place to continue from
                _save(checkpointer, f"model_{iteration:06d}", iteration)
            if stop:
                interrupt.signal = stop
                logger.warning("Interrupted after iteration %d; the same command continues from there", iteration)
                return False
            if is_due(iteration, periods.evaluate) and iteration < max_iter:
                check(iteration)
                evaluate(iteration)
                model.train()
    if start_iteration < max_iter:
        check(max_iter)
        _save(checkpointer, "model_final", max_iter)
    return True


def _save(checkpointer: Checkpointer, name: str, iteration: int) -> None:
    if is_main():
        checkpointer.save(name, iteration=iteration)
    wait_for_all(f"saving {name}.pth")


def is_due(iteration: int, period: int) -> bool:
    """Whether something that happens every ``period`` iterations happens after this one; never for 0 or less."""
    return period > 0 and iteration % period == 0
