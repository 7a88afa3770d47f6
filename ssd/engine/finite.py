"""Steps whose losses or gradients are not finite: skipped on the device, reported when the host asks."""

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from ssd.utils.checkpoint import Checkpointer
from ssd.utils.errors import TrainingError

logger = logging.getLogger(__name__)

_COUNT = "nonfinite_steps"  # key of checkpoints
_REMEDY = (
    "the training diverged. Lower SOLVER.LR, lengthen SOLVER.WARMUP_ITERS or lower SOLVER.WARMUP_FACTOR, and continue "
    "from an earlier checkpoint"
)


class BadStep(NamedTuple):
    """A step that was skipped."""

    iteration: int  # from 1
    losses: dict[str, float]  # of all processes, "total_loss" first
    gradient_norm: float  # norm of the gradients

    def __str__(self) -> str:
        (name, total), *parts = self.losses.items()
        if math.isfinite(total):
            return f"the gradient has the norm {self.gradient_norm} at iteration {self.iteration} ({name} {total:.4g})"
        values = ", ".join(f"{part} {value:.4g}" for part, value in parts)
        return f"the loss is {total} at iteration {self.iteration} ({values})"


class FiniteGuard:
    """Skip the updates of an optimizer whose loss or gradient is not finite, without waiting for a GPU.

    A skipped step changes neither weights nor the optimizer's state or batch statistics. After more than ``limit`` of
    them every further step is skipped too, so that the weights are still those of the last bad step when the host
    learns of it, in ``read``. Scaled gradients that overflow are skipped as always, but are no bad steps while the
    scale is above 1: the scaler lowers it. Only an optimizer that is not fused (on MPS) makes the host wait.
    """

    def __init__(self, model: nn.Module, limit: int):
        self.limit = limit
        # bool (), whether the last step was skipped; None with a limit of 0, after which no training continues.
        self.skipped: Tensor | None = None
        self._names: tuple[str, ...] = ()
        self._history: list[Tensor] = []  # since the last ``read``: losses, norm, whether the step is bad
        self._count = torch.zeros((), dtype=torch.int64, device=next(model.parameters()).device)
        self._statistics = _group_by_dtype(model)
        self._before: list[Tensor] = []

    @property
    def count(self) -> int:
        """Number of bad steps; reading it waits for the device."""
        return int(self._count)

    @count.setter
    def count(self, count: int) -> None:
        self._count.fill_(count)

    def begin(self) -> None:
        """Store the batch statistics, before a forward pass changes them."""
        self._before = [torch.cat([tensor.flatten() for tensor in group]) for group in self._statistics]

    @torch.no_grad()
    def step(self, optimizer: Optimizer, losses: dict[str, Tensor], norm: Tensor, scaler: GradScaler) -> None:
        """Update the weights, or skip this step."""
        is_overflow = norm.isfinite().logical_not()
        scale = scaler.scale(torch.ones_like(norm))
        is_frozen = self._count > self.limit
        is_bad = (losses["total_loss"].isfinite().logical_not() | (is_overflow & (scale <= 1))) & ~is_frozen
        self._count += is_bad
        is_skipped = is_bad | is_overflow | is_frozen
        _step_unless(is_skipped, optimizer)
        for group, before in zip(self._statistics, self._before, strict=True):
            now = torch.cat([tensor.flatten() for tensor in group])
            parts = torch.where(is_skipped, before, now).split([tensor.numel() for tensor in group])
            torch._foreach_copy_(group, [part.view_as(tensor) for part, tensor in zip(parts, group, strict=True)])
        self.skipped = is_skipped if self.limit > 0 else None
        self._names = tuple(losses)
        self._history.append(torch.stack([*losses.values(), norm, is_bad.to(norm.dtype)]))

    def read(self, iteration: int) -> list[BadStep]:
        """Wait for the device and return the bad steps since the last call, up to ``iteration``."""
        if not self._history:
            return []
        rows = torch.stack(self._history).tolist()
        self._history = []
        return [
            BadStep(number, dict(zip(self._names, losses, strict=True)), norm)
            for number, (*losses, norm, is_bad) in enumerate(rows, start=iteration - len(rows) + 1)
            if is_bad
        ]


def _group_by_dtype(model: nn.Module) -> list[list[Tensor]]:
    """Return the buffers of a model's state, the statistics of batch norms, in groups of one dtype."""
    parameters = {name for name, _ in model.named_parameters()}
    groups: dict[torch.dtype, list[Tensor]] = {}
    for name, tensor in model.state_dict().items():
        if name not in parameters and tensor.numel():
            groups.setdefault(tensor.dtype, []).append(tensor)
    return list(groups.values())


def _step_unless(is_skipped: Tensor, optimizer: Optimizer) -> None:
    if optimizer.defaults.get("fused"):
        # The kernel of a fused optimizer reads this itself, as with a GradScaler.
        optimizer.found_inf = is_skipped.float()  # type: ignore[attr-defined]
        optimizer.step()
        del optimizer.found_inf  # type: ignore[attr-defined]
    elif not is_skipped:
        optimizer.step()


class FiniteCheck:
    """Report skipped steps, and raise TrainingError if there are too many; of several processes all must call it."""

    def __init__(self, guard: FiniteGuard, checkpointer: Checkpointer, image_names: Callable[[int], list[str]]):
        self._guard = guard
        self._checkpointer = checkpointer
        self._image_names = image_names
        self._count = 0

    def resume(self, checkpoint: Mapping[str, Any]) -> None:
        """Continue the count of a checkpoint."""
        count = checkpoint.get(_COUNT, 0)
        self._guard.count = self._count = count
        if count:  # else checkpoints of a continued run would have a key that those of an unbroken run lack
            self._checkpointer.extra[_COUNT] = count

    def __call__(self, iteration: int) -> None:
        """Check the steps up to ``iteration``, and that the weights are finite; this waits for the device."""
        for bad in self._guard.read(iteration):
            self._count += 1
            self._checkpointer.extra[_COUNT] = self._count
            images = ", ".join(self._image_names(bad.iteration))
            if self._count > self._guard.limit:
                raise TrainingError(f"{bad}: {_REMEDY}{self._hint()}. Images of this batch: {images}")
            logger.warning("%s; the step is skipped. Its images: %s", bad, images)
        norm = float(get_total_norm([weight.detach() for weight in self._checkpointer.model.parameters()]))
        if not math.isfinite(norm):  # caused by the last step; the next loss would show it, but this must not be saved
            raise TrainingError(f"the norm of the weights is {norm} after iteration {iteration}: {_REMEDY}")

    def _hint(self) -> str:
        if self._guard.limit:
            return f"; {self._guard.limit} such step(s) were skipped before (SOLVER.MAX_NONFINITE_STEPS)"
        return ", or skip a few such steps (SOLVER.MAX_NONFINITE_STEPS)"
