"""Steps whose losses or gradients are not finite: the device leaves them out, the host learns of them when it asks."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer


class BadStep(NamedTuple):
    """A step that was left out.

    Attributes:
        iteration: counted from 1, as in the log.
        losses: of all processes, "total_loss" first.
        gradient_norm: likewise.
    """

    iteration: int
    losses: dict[str, float]
    gradient_norm: float


class FiniteGuard:
    """Lets an optimizer take its steps, but none whose loss or gradient is not finite; a GPU is not waited for.

    Exact on every device: such a step changes neither weights nor the optimizer's state or batch statistics. Once more
    than ``limit`` of them have come, none of those that follow changes anything either, so that the weights are still
    those that the last one met when the host learns of it, which is when it calls ``read``.

    A norm that float32 cannot hold counts as not finite. Gradients of scaled losses that overflow are left out too, as
    always, but are no bad steps while the scale is above 1: the scaler lowers it. Only an optimizer that is not fused
    (on MPS) makes the host wait.

    Args:
        model: whose batch statistics are kept; where it trains.
        limit: SOLVER.MAX_NONFINITE_STEPS.

    Attributes:
        keeps_average: bool (), whether the last step was left out, so that the average must stay as it is. None with a
            limit of 0: no training goes on after such a step, and an average that may move on is quicker on a GPU.
    """

    def __init__(self, model: nn.Module, limit: int):
        self.limit = limit
        self.keeps_average: Tensor | None = None
        self._names: tuple[str, ...] = ()
        self._history: list[Tensor] = []  # since the last ``read``: losses, norm, whether the step is bad
        self._count = torch.zeros((), dtype=torch.int64, device=next(model.parameters()).device)
        self._statistics = _group_by_dtype(model)
        self._before: list[Tensor] = []

    @property
    def count(self) -> int:
        """How many bad steps there were; reading it waits for the device."""
        return int(self._count)

    @count.setter
    def count(self, count: int) -> None:
        self._count.fill_(count)

    def begin(self) -> None:
        """Remember the batch statistics, before a forward pass changes them."""
        self._before = [torch.cat([tensor.flatten() for tensor in group]) for group in self._statistics]

    @torch.no_grad()
    def step(self, optimizer: Optimizer, losses: dict[str, Tensor], norm: Tensor, scaler: GradScaler) -> None:
        """Take a step of the optimizer, or leave it out.

        Args:
            optimizer: whose gradients are no longer scaled.
            losses: of all processes, "total_loss" first.
            norm: of the gradients of all processes.
            scaler: of the losses; may be disabled.
        """
        is_overflow = norm.isfinite().logical_not()
        scale = scaler.scale(torch.ones_like(norm))
        is_frozen = self._count > self.limit
        is_bad = (losses["total_loss"].isfinite().logical_not() | (is_overflow & (scale <= 1))) & ~is_frozen
        self._count += is_bad
        is_left_out = is_bad | is_overflow | is_frozen
        _step_unless(is_left_out, optimizer)
        for group, before in zip(self._statistics, self._before, strict=True):
            now = torch.cat([tensor.flatten() for tensor in group])
            parts = torch.where(is_left_out, before, now).split([tensor.numel() for tensor in group])
            torch._foreach_copy_(group, [part.view_as(tensor) for part, tensor in zip(parts, group, strict=True)])
        self.keeps_average = is_left_out if self.limit > 0 else None
        self._names = tuple(losses)
        self._history.append(torch.stack([*losses.values(), norm, is_bad.to(norm.dtype)]))

    def read(self, iteration: int) -> list[BadStep]:
        """Wait for the device, and return the bad steps since the last call.

        Args:
            iteration: completed iterations, the last step's.
        """
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
    """What a model's state has beside its parameters, the statistics of batch norms, in groups of one dtype."""
    parameters = {name for name, _ in model.named_parameters()}
    groups: dict[torch.dtype, list[Tensor]] = {}
    for name, tensor in model.state_dict().items():
        if name not in parameters and tensor.numel():
            groups.setdefault(tensor.dtype, []).append(tensor)
    return list(groups.values())


def _step_unless(is_left_out: Tensor, optimizer: Optimizer) -> None:
    if optimizer.defaults.get("fused"):
        # The kernel of a fused optimizer looks at this itself; it is how a GradScaler leaves steps out.
        optimizer.found_inf = is_left_out.float()  # type: ignore[attr-defined]
        optimizer.step()
        del optimizer.found_inf  # type: ignore[attr-defined]
    elif not is_left_out:
        optimizer.step()
