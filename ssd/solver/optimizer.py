"""The optimizer of the paper: SGD with momentum and weight decay on everything (SSD, Sec. 3)."""

import torch
from torch import nn
from yacs.config import CfgNode


def make_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build SGD over all trainable parameters of ``model`` from SOLVER.LR, MOMENTUM and WEIGHT_DECAY."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.SGD(
        parameters, lr=cfg.SOLVER.LR, momentum=cfg.SOLVER.MOMENTUM, weight_decay=cfg.SOLVER.WEIGHT_DECAY
    )
