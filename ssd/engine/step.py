"""One step of a training: forward, backward and the update of the weights."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from ssd.engine.finite import FiniteGuard
from ssd.modeling.box_head import LossSums
from ssd.modeling.detector import SSDDetector
from ssd.structures import Container
from ssd.utils.distributed import mean_over_processes


class TrainingNetwork(nn.Module):
    """From images and targets to LossSums, under autocast to ``dtype``; DistributedDataParallel wraps this."""

    def __init__(self, detector: SSDDetector, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.detector = detector
        self.dtype = dtype

    def forward(self, images: Tensor, targets: Container) -> LossSums:
        """Return the losses of normalised images (B, 3, H, W)."""
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype != torch.float32):
            predictions = self.detector.predict(images)
        return self.detector.box_head.losses(predictions, targets)


@dataclass(frozen=True)
class Step:
    """Forward, backward and update."""

    network: nn.Module  # (images, targets) -> LossSums, such as a TrainingNetwork
    optimizer: Optimizer
    guard: FiniteGuard  # skips updates whose loss or gradient is not finite
    scaler: GradScaler = field(default_factory=lambda: GradScaler("cpu", enabled=False))  # for float16 gradients
    max_norm: float = 0.0  # longer gradients are clipped to it; 0 = never
    micro_batches: int = 1  # parts in which a batch goes through the network

    def forward_backward(self, images: Tensor, targets: Container) -> dict[str, Tensor]:
        """Compute the gradients of a batch, and return the losses of all processes, "total_loss" (their sum) first.

        The losses are divided by the number of positives N of all parts and processes (SSD, eq. 1). N grows with each
        part, so the gradients of the parts before are scaled to it.
        """
        self.optimizer.zero_grad()
        self.guard.begin()
        columns = {name: targets[name].tensor_split(self.micro_batches) for name in targets}
        means, num_pos = torch.zeros((), device=images.device), torch.zeros((), device=images.device)
        for i, part in enumerate(images.tensor_split(self.micro_batches)):
            part_targets = Container(**{name: column[i] for name, column in columns.items()})
            # Processes average their gradients with the last part.
            with _no_sync(self.network) if i < self.micro_batches - 1 else nullcontext():
                sums, part_num_pos = self.network(part, part_targets)
                before, num_pos = num_pos, num_pos + mean_over_processes(part_num_pos.sum())
                if i > 0:
                    torch._foreach_mul_(self._gradients(), before / num_pos)
                losses = torch.stack([loss / num_pos for loss in sums.values()])
                self.scaler.scale(losses.sum()).backward()
            means = means * (before / num_pos) + mean_over_processes(losses.detach())
        self.scaler.unscale_(self.optimizer)
        return {"total_loss": means.sum(), **dict(zip(sums, means.unbind(), strict=True))}

    def update(self, losses: dict[str, Tensor]) -> None:
        """Clip the gradients and update the weights, unless ``losses`` or the gradients are not finite."""
        norm = get_total_norm(self._gradients())
        if self.max_norm > 0:
            clip_grads_with_norm_(self.network.parameters(), self.max_norm, norm)
        self.guard.step(self.optimizer, losses, norm, self.scaler)
        self.scaler.update()

    def _gradients(self) -> list[Tensor]:
        parameters = (p for group in self.optimizer.param_groups for p in group["params"])
        return [p.grad for p in parameters if p.grad is not None]


def _no_sync(network: nn.Module) -> AbstractContextManager[None]:
    return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()
