"""The training loop."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from ssd.engine.determinism import seed_iteration
from ssd.engine.evaluator import Evaluator
from ssd.engine.finite import FiniteCheck
from ssd.engine.monitor import TrainingMonitor
from ssd.engine.prefetch import Batch, prefetch
from ssd.engine.step import Step
from ssd.modeling.detector import SSDDetector
from ssd.solver import ModelAverage
from ssd.structures import Container
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.distributed import get_rank, get_world_size, is_main, largest_of_all, wait_for_all
from ssd.utils.interrupt import InterruptGuard

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Intervals:
    """Iterations between events; 0 or less = never."""

    log: int = 10
    save: int = 2500
    evaluate: int = 2500


@dataclass(frozen=True)
class Training:
    """The parts of a training; ssd/commands/train.py builds them."""

    detector: SSDDetector
    average: ModelAverage[SSDDetector] | None  # of the detector's weights
    data_loader: Iterable[Batch]
    batch_transform: Callable[[Tensor, Container, int], Tensor]  # (images, targets, iteration from 0) -> pixels
    step: Step
    scheduler: LRScheduler
    start_iteration: int  # completed iterations
    max_iter: int
    seed: int  # of random layers, such as stochastic depth
    intervals: Intervals
    monitor: TrainingMonitor
    checkpointer: Checkpointer
    evaluate: Evaluator
    check: FiniteCheck
    interrupt: InterruptGuard  # holds the signal that ended the training, whichever process got it


def train(t: Training) -> bool:
    """Train to ``max_iter``, and return whether the end was reached; False after a signal, when it saves first.

    Only logging, saving and evaluation wait for a GPU. Several processes run this in parallel, each with its share of
    a batch. Raises TrainingError if the training diverges.
    """
    batches = t.monitor.watch(prefetch(t.data_loader, next(t.detector.parameters()).device))
    if 0 < t.start_iteration < t.max_iter and is_due(t.start_iteration, t.intervals.evaluate):
        t.evaluate(t.start_iteration)  # the run may have ended during this evaluation
    t.detector.train()
    for iteration, (images, targets, _) in enumerate(batches, start=t.start_iteration + 1):
        seed_iteration(t.seed, iteration - 1, get_rank())
        pixels = t.batch_transform(images, targets, iteration - 1)
        losses = t.step.forward_backward(pixels, targets)
        t.step.update(losses)
        if t.average:
            t.average.update(iteration, skip=t.step.guard.skipped)
        t.monitor.end_step(losses, len(images) * get_world_size(), lr=t.scheduler.get_last_lr()[0])
        t.scheduler.step()

        if is_due(iteration, t.intervals.log) or iteration == t.max_iter:
            t.monitor.log(iteration)
            t.check(iteration)  # after the line, which shows the loss
        stop = largest_of_all(t.interrupt.signal or 0)
        if is_due(iteration, t.intervals.save) or stop:
            _save(t, f"model_{iteration:06d}", iteration)
        if stop:
            t.interrupt.signal = stop
            logger.warning("Interrupted after iteration %d; the same command continues from there", iteration)
            return False
        if is_due(iteration, t.intervals.evaluate) and iteration < t.max_iter:
            t.check(iteration)
            t.evaluate(iteration)
            t.detector.train()
    if t.start_iteration < t.max_iter:
        _save(t, "model_final", t.max_iter)
    return True


def _save(t: Training, name: str, iteration: int) -> None:
    t.check(iteration)  # a broken model is never saved
    if is_main():
        t.checkpointer.save(name, iteration=iteration)
    wait_for_all(f"saving {name}.pth")


def is_due(iteration: int, interval: int) -> bool:
    """Return whether an event of this interval follows the iteration; never for 0 or less."""
    return interval > 0 and iteration % interval == 0
