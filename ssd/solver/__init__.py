"""Optimisation: the optimizer, the learning-rate schedule, the average of the weights."""

from ssd.solver.ema import ModelAverage
from ssd.solver.lr_scheduler import WarmupLR, make_lr_scheduler
from ssd.solver.optimizer import make_optimizer

__all__ = ["ModelAverage", "WarmupLR", "make_lr_scheduler", "make_optimizer"]
