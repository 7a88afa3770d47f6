"""The learning rate over a run: linear warm-up, then steps down."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from yacs.config import CfgNode

from ssd.utils.errors import ConfigError


def warmup_multistep(
    step: int, milestones: Sequence[int], gamma: float, warmup_factor: float, warmup_iters: int
) -> float:
    """Compute the factor on the base learning rate.

    Args:
        step: optimizer steps taken so far; 0 is the factor of the first step.
        milestones: ascending steps at which the rate is multiplied by ``gamma``.
        gamma: see above.
        warmup_factor: factor at step 0, which rises linearly to 1 at ``warmup_iters``.
        warmup_iters: length of the warm-up in steps; 0 for none.
    """
    warmup = 1.0
    if step < warmup_iters:
        progress = step / warmup_iters
        warmup = warmup_factor * (1 - progress) + progress
    return warmup * gamma ** bisect_right(milestones, step)


class WarmupMultiStepLR(LambdaLR):
    """Follows ``warmup_multistep``, one step after every optimizer step.

    Its state is the step count alone, so a continued run follows the schedule of its own config. The scheduler state of
    a lufficc/SSD checkpoint is accepted.
    """

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


def make_lr_scheduler(cfg: CfgNode, optimizer: Optimizer) -> WarmupMultiStepLR:
    """Build the schedule of SOLVER.

    Raises:
        ConfigError: SOLVER.LR_STEPS does not ascend.
    """
    milestones = list(cfg.SOLVER.LR_STEPS)
    if milestones != sorted(milestones):
        raise ConfigError(f"SOLVER.LR_STEPS must ascend, got {milestones}")
    factor = partial(
        warmup_multistep,
        milestones=milestones,
        gamma=cfg.SOLVER.GAMMA,
        warmup_factor=cfg.SOLVER.WARMUP_FACTOR,
        warmup_iters=cfg.SOLVER.WARMUP_ITERS,
    )
    return WarmupMultiStepLR(optimizer, factor)
