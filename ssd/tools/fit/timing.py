"""Time of a training on this machine, measured on its first steps."""

import time
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ssd.engine.inference import detect
from ssd.engine.monitor import TrainingMonitor
from ssd.engine.trainer import Intervals, Training, train
from ssd.utils.checkpoint import Checkpointer

_WARM_UP, _TIMED = 2, 5
_LOADED = 4  # steps at the end, not timed: faster than those of a long training, as their batches are loaded before
NUM_STEPS = _WARM_UP + _TIMED + _LOADED
_NUM_BATCHES = 2  # of test images


@dataclass(frozen=True)
class Timing:
    """Seconds of a training step, and of the evaluation of one image."""

    step: float
    image: float


def measure_training(training: Training) -> Timing:
    """Train a new training for NUM_STEPS iterations, its MAX_ITER, and detect in some test images.

    Nothing is written.
    """
    clock = _Clock(training.max_iter, next(training.detector.parameters()).device)
    train(replace(training, monitor=clock, checkpointer=Checkpointer(training.detector), intervals=Intervals(0, 0, 0)))
    evaluate = training.evaluate
    batches: Any = list(islice(next(iter(evaluate.data_loaders.values())), _NUM_BATCHES))
    started = time.perf_counter()
    found, _ = detect(evaluate.detector, batches, evaluate.batch_transform, dtype=evaluate.dtype)
    return Timing(clock.step_seconds, (time.perf_counter() - started) / len(found))


class _Clock(TrainingMonitor):
    """A monitor that shows nothing, and notes the time after each step."""

    def __init__(self, max_iter: int, device: torch.device):
        super().__init__(0, max_iter, device)
        self.bar.close()
        self.times: list[float] = []

    def end_step(self, losses: dict[str, Tensor], num_images: int, lr: float | Tensor) -> None:
        sum(loss.item() for loss in losses.values())  # waits for a GPU
        self.times.append(time.perf_counter())

    def log(self, iteration: int) -> None:
        pass

    @property
    def step_seconds(self) -> float:
        return (self.times[_WARM_UP + _TIMED - 1] - self.times[_WARM_UP - 1]) / _TIMED
