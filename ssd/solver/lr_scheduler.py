"""The learning rate over a run: a linear warm-up, then steps down or a cosine, at once or late."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from yacs.config import CfgNode

from ssd.utils.errors import ConfigError


def warmup(step: int, factor: float, num_steps: int) -> float:
    """Return the factor on the learning rate: ``factor`` at step 0, rising linearly to 1 at ``num_steps``."""
    if step >= num_steps:
        return 1.0
    progress = step / num_steps
    return factor * (1 - progress) + progress


def multistep(step: int, milestones: Sequence[int], gamma: float) -> float:
    """Return ``gamma`` to the power of the number of ascending ``milestones`` that have been reached."""
    return gamma ** bisect_right(milestones, step)


def cosine(step: int, num_steps: int, flat: float = 0.0, end: float = 0.0) -> float:
    """Return the half cosine that falls from 1 to ``end`` at ``num_steps`` (SGDR, arXiv:1608.03983, eq. 5).

    It stays at 1 for the first ``flat`` of the steps, a share below 1.
    """
    progress = max(step / num_steps - flat, 0) / (1 - flat)
    return end + (1 - end) * (1 + math.cos(math.pi * min(progress, 1))) / 2


class WarmupLR(LambdaLR):
    """A warm-up times a decay, both functions of the optimizer steps taken; stepped once after each.

    Its state is the step count alone, so a resumed run follows the schedule of its own config.
    """

    def __init__(self, optimizer: Optimizer, *, warmup_factor: float, warmup_iters: int, decay: Callable[[int], float]):
        super().__init__(optimizer, lambda step: warmup(step, warmup_factor, warmup_iters) * decay(step))

    def state_dict(self) -> dict[str, Any]:
        """Return {"last_epoch": steps taken}."""
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after ``state_dict["last_epoch"]`` steps."""
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = self.last_epoch + 1
        self._last_lr = [
            base_lr * factor(self.last_epoch) for base_lr, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = lr


def make_lr_scheduler(cfg: CfgNode, optimizer: Optimizer) -> WarmupLR:
    """Build SOLVER.SCHEDULE with the warm-up of SOLVER."""
    solver = cfg.SOLVER
    decay: Callable[[int], float]
    if solver.SCHEDULE == "multistep":
        milestones = list(solver.LR_STEPS)
        if milestones != sorted(milestones):
            raise ConfigError(f"SOLVER.LR_STEPS must ascend, got {milestones}")
        decay = partial(multistep, milestones=milestones, gamma=solver.GAMMA)
    elif solver.SCHEDULE == "cosine":
        decay = partial(cosine, num_steps=solver.MAX_ITER)
    elif solver.SCHEDULE == "flat_cosine":
        decay = partial(cosine, num_steps=solver.MAX_ITER, flat=solver.FLAT, end=solver.END_FACTOR)
    else:
        raise ConfigError(f"SOLVER.SCHEDULE must be multistep, cosine or flat_cosine, got {solver.SCHEDULE!r}")
    return WarmupLR(optimizer, warmup_factor=solver.WARMUP_FACTOR, warmup_iters=solver.WARMUP_ITERS, decay=decay)
