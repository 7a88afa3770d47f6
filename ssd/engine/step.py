"""One step of the optimizer."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from ssd.config import Config
from ssd.engine.finite import FiniteGuard
from ssd.modeling.box_head.loss import num_positives
from ssd.solver import ModelAverage
from ssd.structures import Container
from ssd.utils.distributed import mean_over_processes
from ssd.utils.errors import ConfigError


@dataclass(frozen=True)
class StepOptions:
    """How a step is taken.

    Attributes:
        scaler: scales the loss so that float16 gradients do not vanish; does nothing unless it is enabled.
        max_norm: gradients are scaled down to this norm; 0 = left as they are.
        num_parts: the batch goes through the network in so many parts, one after the other.
        count_positives: from targets to (B,), what each image contributes to the N that its losses are divided by;
            needed for several parts.
        average: follows the model.
        guard: leaves out steps that are not finite.
    """

    scaler: GradScaler = field(default_factory=lambda: GradScaler("cpu", enabled=False))
    max_norm: float = 0.0
    num_parts: int = 1
    count_positives: Callable[[Container], Tensor] | None = None
    average: ModelAverage | None = None
    guard: FiniteGuard | None = None

    def evaluated(self, model: nn.Module) -> nn.Module:
        """Return what is evaluated of a training: the average of the model, or if there is none the model."""
        return model if self.average is None else self.average.module

    def update_average(self, iteration: int) -> None:
        """Take the model into its average, if there is one, after so many completed iterations."""
        if self.average is not None:
            self.average.update(iteration, keep=None if self.guard is None else self.guard.keeps_average)


def make_step_options(cfg: Config, detector: nn.Module, dtype: torch.dtype) -> StepOptions:
    """Build the options of SOLVER for a detector that computes in ``dtype``; an average starts from its weights.

    Raises:
        ConfigError: SOLVER.MICRO_BATCHES exceeds the batch, or the head does not tell which priors are positive.
    """
    if cfg.SOLVER.MICRO_BATCHES > cfg.SOLVER.BATCH_SIZE:
        raise ConfigError(
            f"SOLVER.MICRO_BATCHES is {cfg.SOLVER.MICRO_BATCHES}, but a batch of {cfg.SOLVER.BATCH_SIZE} images "
            f"(SOLVER.BATCH_SIZE, a process) has no more than {cfg.SOLVER.BATCH_SIZE} parts"
        )
    if cfg.SOLVER.MICRO_BATCHES > 1 and not hasattr(detector.box_head, "assign_targets"):
        raise ConfigError(
            f"SOLVER.MICRO_BATCHES {cfg.SOLVER.MICRO_BATCHES} weights parts by their positives, which needs a head "
            f"with assign_targets and priors; {type(detector.box_head).__name__} has none. Set it to 1"
        )
    device_type = next(detector.parameters()).device.type
    return StepOptions(
        scaler=GradScaler(device_type, enabled=dtype == torch.float16),
        max_norm=cfg.SOLVER.GRAD_CLIP,
        num_parts=cfg.SOLVER.MICRO_BATCHES,
        count_positives=lambda targets: count_positives(detector, targets),
        average=ModelAverage(detector, cfg.SOLVER.EMA) if cfg.SOLVER.EMA > 0 else None,
        guard=FiniteGuard(detector, cfg.SOLVER.MAX_NONFINITE_STEPS),
    )


def step(
    model: nn.Module,
    optimizer: Optimizer,
    images: Tensor,
    targets: Container,
    options: StepOptions = StepOptions(),
) -> dict[str, Tensor]:
    """Take one step; return the losses before it, "total_loss" (their sum) first: those of all processes' images.

    Args:
        model: from (images, targets) to a dictionary of losses; with several processes, parallel.
        optimizer: of its parameters.
        images: (B, 3, H, W), normalised.
        targets: of these images.
        options: beyond the plain step.
    """
    optimizer.zero_grad()
    if options.guard is not None:
        options.guard.begin()
    if options.num_parts == 1:
        losses = _backward(model, images, targets, options.scaler)
    else:
        losses = _backward_in_parts(model, images, targets, options)
    norm = _clip(optimizer, options)
    *means, norm = mean_over_processes(torch.stack([*losses.values(), norm])).unbind()
    losses = dict(zip(losses, means, strict=True))
    if options.guard is None:
        options.scaler.step(optimizer)
    else:
        options.guard.step(optimizer, losses, norm, options.scaler)
    options.scaler.update()
    return losses


def _clip(optimizer: Optimizer, options: StepOptions) -> Tensor:
    """Unscale the gradients and scale down long ones; return the norm that they had."""
    options.scaler.unscale_(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = get_total_norm([p.grad for p in parameters])
    if options.max_norm > 0:
        clip_grads_with_norm_(parameters, options.max_norm, norm)
    return norm


def _backward(
    model: nn.Module, images: Tensor, targets: Container, scaler: GradScaler, share: Tensor | float = 1.0
) -> dict[str, Tensor]:
    """Add the gradient of ``share`` times the losses; return these, detached."""
    losses = {name: loss * share for name, loss in model(images, targets).items()}
    total_loss = torch.stack(list(losses.values())).sum()
    scaler.scale(total_loss).backward()
    return {name: loss.detach() for name, loss in {"total_loss": total_loss, **losses}.items()}


def _backward_in_parts(model: nn.Module, images: Tensor, targets: Container, options: StepOptions) -> dict[str, Tensor]:
    """Accumulate the gradient of the whole batch, part by part; return the losses of the whole.

    Each part divides its losses by its own N (SSD, eq. 1), so it counts by its share of the batch's; N is that of all
    processes.
    """
    assert options.count_positives is not None, "parts of a batch are weighted by their positives"
    num_parts = options.num_parts
    counts = options.count_positives(targets)
    totals = mean_over_processes(torch.stack([part.sum() for part in counts.tensor_split(num_parts)]))
    shares = totals / totals.sum()
    columns = {name: targets[name].tensor_split(num_parts) for name in targets}
    parts = []
    for i, part in enumerate(images.tensor_split(num_parts)):
        part_targets = Container(**{name: columns[name][i] for name in columns})
        with nullcontext() if i == num_parts - 1 else _no_sync(model):
            parts.append(_backward(model, part, part_targets, options.scaler, shares[i]))
    return {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}


def _no_sync(model: nn.Module) -> AbstractContextManager[None]:
    """Where processes keep their gradients to themselves, to be sent with those that follow."""
    return model.no_sync() if hasattr(model, "no_sync") else nullcontext()  # type: ignore[operator]


@torch.no_grad()
def count_positives(detector: nn.Module, targets: Container) -> Tensor:
    """Count the priors that each image's losses are divided by (B,); this matches the targets once more."""
    head = detector.box_head
    labels, _ = head.assign_targets(targets, head.priors)  # type: ignore[operator, union-attr]
    return num_positives(labels > 0).flatten()
