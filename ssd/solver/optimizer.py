"""Optimizers by name."""

import torch
from torch import nn
from yacs.config import CfgNode

from ssd.utils.errors import ConfigError


def make_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build SOLVER.OPTIMIZER over all trainable parameters of ``model``.

    "sgd" with momentum is the paper's (SSD, Sec. 3); "adamw" gets further in few iterations, at a lower SOLVER.LR.

    Raises:
        ConfigError: the name is neither of these.
    """
    solver = cfg.SOLVER
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if solver.OPTIMIZER == "sgd":
        return torch.optim.SGD(parameters, lr=solver.LR, momentum=solver.MOMENTUM, weight_decay=solver.WEIGHT_DECAY)
    if solver.OPTIMIZER == "adamw":
        return torch.optim.AdamW(parameters, lr=solver.LR, weight_decay=solver.WEIGHT_DECAY)
    raise ConfigError(f"SOLVER.OPTIMIZER must be sgd or adamw, got {solver.OPTIMIZER!r}")
