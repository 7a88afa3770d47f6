"""Optimizers by name, over groups of parameters with a learning rate and weight decay of their own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from ssd.utils.checkpoint_file import matches_any
from ssd.utils.errors import ConfigError

_NOT_IN_BACKBONE = (r"(?!backbone\.)", r"backbone\.extras\.")  # no ImageNet weights fill these


def make_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build SOLVER.OPTIMIZER over all trainable parameters of ``model``, which is on the device of the training.

    "sgd" with momentum is the paper's (SSD, Sec. 3); "adamw" gets further in few iterations, at a lower SOLVER.LR. On a
    CPU and on CUDA one fused kernel updates all parameters.
    """
    solver = cfg.SOLVER
    groups = parameter_groups(
        model,
        lr=solver.LR,
        weight_decay=solver.WEIGHT_DECAY,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        backbone_lr_factor=solver.BACKBONE_LR_FACTOR,
        new_layers=cfg.MODEL.WEIGHTS_EXCLUDE if cfg.MODEL.WEIGHTS else _NOT_IN_BACKBONE,
        new_layers_lr_factor=solver.NEW_LAYERS_LR_FACTOR,
        decay_norms_and_biases=solver.DECAY_NORMS_AND_BIASES,
    )
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    if solver.OPTIMIZER == "sgd":
        return _with_momentum(torch.optim.SGD(groups, momentum=solver.MOMENTUM, fused=fused))
    if solver.OPTIMIZER == "adamw":
        return torch.optim.AdamW(groups, fused=fused)
    raise ConfigError(f"SOLVER.OPTIMIZER must be sgd or adamw, got {solver.OPTIMIZER!r}")


def _with_momentum(optimizer: torch.optim.SGD) -> torch.optim.SGD:
    """Start from a momentum of zero: if the first step is skipped, the fused kernel leaves unwritten memory there."""
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    bias_lr_factor: float = 1.0,
    backbone_lr_factor: float = 1.0,
    new_layers: Sequence[str] = (),
    new_layers_lr_factor: float = 1.0,
    decay_norms_and_biases: bool = True,
) -> list[dict[str, Any]]:
    """Group the trainable parameters by learning rate and weight decay, as an optimizer takes them.

    The factors are relative to ``lr``, that of the backbone without ``extras``, which no ImageNet weights fill.
    ``new_layers`` are regular expressions for the beginnings of names. ``decay_norms_and_biases`` lets vectors decay
    too.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        factor = bias_lr_factor if name.endswith("bias") else 1.0
        if not matches_any(name, _NOT_IN_BACKBONE):
            factor *= backbone_lr_factor
        if matches_any(name, new_layers):
            factor *= new_layers_lr_factor
        decays = decay_norms_and_biases or parameter.dim() > 1
        groups.setdefault((factor, decays), []).append(parameter)
    return [
        {"params": parameters, "lr": lr * factor, "weight_decay": weight_decay if decays else 0.0}
        for (factor, decays), parameters in groups.items()
        if parameters
    ]
