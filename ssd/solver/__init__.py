"""Optimisation: the optimizer and the learning-rate schedule."""

from ssd.solver.lr_scheduler import WarmupLR, make_lr_scheduler
from ssd.solver.optimizer import make_optimizer

__all__ = ["WarmupLR", "make_lr_scheduler", "make_optimizer"]
