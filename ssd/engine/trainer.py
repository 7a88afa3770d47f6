"""The training loop."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ssd.engine.monitor import TrainingMonitor
from ssd.engine.prefetch import Batch, prefetch
from ssd.engine.seeding import seed_iteration
from ssd.engine.step import StepOptions, step
from ssd.structures import Container
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.distributed import Agreement, get_rank, get_world_size, is_main, wait_for_all
from ssd.utils.interrupt import InterruptGuard

logger = logging.getLogger(__name__)

BatchTransform = Callable[[Tensor, Container | None, int | None], Tensor]


@dataclass(frozen=True)
class Periods:
    """What happens every how many iterations; 0 or less is never."""

    log: int = 10
    save: int = 2500
    evaluate: int = 2500


@dataclass(frozen=True)
class Stepper:
    """What an iteration does with its batch.

    Attributes:
        model: from (images, targets) to a dictionary of losses; with several processes, parallel.
        batch_transform: prepares images on the device, given (images, targets, iteration from 0).
        optimizer: of the model's parameters.
        scheduler: of its learning rate.
        seed: of what the network draws, such as stochastic depth.
        options: beyond the plain step.
    """

    model: nn.Module
    batch_transform: BatchTransform
    optimizer: Optimizer
    scheduler: LRScheduler
    seed: int
    options: StepOptions = StepOptions()  # noqa: RUF009  # frozen

    def __call__(self, iteration: int, images: Tensor, targets: Container) -> tuple[dict[str, Tensor], float | Tensor]:
        """Take the step of an iteration, counted from 1; return the losses before it, and its learning rate."""
        seed_iteration(self.seed, iteration - 1, get_rank())
        inputs = self.batch_transform(images, targets, iteration - 1)
        losses = step(self.model, self.optimizer, inputs, targets, self.options)
        self.options.update_average(iteration)
        lr = self.scheduler.get_last_lr()[0]
        self.scheduler.step()
        return losses, lr


def train(
    stepper: Stepper,
    data_loader: Iterable[Batch],
    start_iteration: int,
    max_iter: int,
    periods: Periods,
    *,
    monitor: TrainingMonitor,
    checkpointer: Checkpointer,
    evaluate: Callable[[int], None],
    check: Callable[[int], None],
    interrupt: InterruptGuard,
) -> bool:
    """Train from ``start_iteration`` completed iterations to ``max_iter``.

    Only log, save and evaluate wait for a GPU. Several processes run this side by side, each with its share of a batch.

    Args:
        checkpointer: saves "model_XXXXXX" periodically and "model_final" at the end.
        evaluate: called with the completed iterations; not at the end.
        check: raises TrainingError, given the completed iterations, if the training has diverged.
        interrupt: entered here; then has the signal that ended the training, whichever process got it.

    Returns:
        Whether the end was reached; False after a signal, at which it saves first.

    Raises:
        TrainingError: the training has diverged.
    """
    model, agree = stepper.model, Agreement()
    with interrupt:
        if 0 < start_iteration < max_iter and is_due(start_iteration, periods.evaluate):
            evaluate(start_iteration)  # the run may have ended in the midst of it
        model.train()
        for iteration in _steps(stepper, data_loader, start_iteration, monitor):
            if is_due(iteration, periods.log) or iteration == max_iter:
                monitor.log(iteration)
                check(iteration)  # after the line, which shows the loss
            stop = agree(interrupt.signal or 0)
            if is_due(iteration, periods.save) or stop:
                _save(checkpointer, f"model_{iteration:06d}", iteration, check)
            if stop:
                interrupt.signal = stop
                logger.warning("Interrupted after iteration %d; the same command continues from there", iteration)
                return False
            if is_due(iteration, periods.evaluate) and iteration < max_iter:
                check(iteration)
                evaluate(iteration)
                model.train()
    if start_iteration < max_iter:
        _save(checkpointer, "model_final", max_iter, check)
    return True


def _steps(
    stepper: Stepper, data_loader: Iterable[Batch], start_iteration: int, monitor: TrainingMonitor
) -> Iterator[int]:
    """Take a step with every batch; yield the iterations that are then completed."""
    device = next(stepper.model.parameters()).device
    batches = monitor.watch(prefetch(data_loader, device))
    for iteration, (images, targets, _) in enumerate(batches, start=start_iteration + 1):
        losses, lr = stepper(iteration, images, targets)
        monitor.end_step(losses, len(images) * get_world_size(), lr=lr)
        yield iteration


def _save(checkpointer: Checkpointer, name: str, iteration: int, check: Callable[[int], None]) -> None:
    check(iteration)  # a broken model is no place to continue from
    if is_main():
        checkpointer.save(name, iteration=iteration)
    wait_for_all(f"saving {name}.pth")


def is_due(iteration: int, period: int) -> bool:
    """Whether something that happens every ``period`` iterations happens after this one; never for 0 or less."""
    return period > 0 and iteration % period == 0
