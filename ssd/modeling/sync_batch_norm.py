"""Batch norm over the images of all processes (SOLVER.SYNC_BN).

B images of a process, C channels.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ssd.modeling.layers import BatchNorm2d
from ssd.utils.distributed import get_world_size
from ssd.utils.errors import ConfigError


def synchronise_batch_norm(model: nn.Module) -> None:
    """Let the batch norms of a model that train see all processes; names, parameters and buffers stay.

    On a GPU they become torch.nn.SyncBatchNorm, which has no CPU version. Frozen ones are left as they are.

    Args:
        model: in training mode, but for its frozen layers; changed in place.

    Raises:
        ConfigError: a layer computes more than a batch norm, so none can take its place.
    """
    for path, parent in list(model.named_modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training:
                setattr(parent, name, _synchronised(layer, f"{path}.{name}".lstrip(".")))


def _synchronised(layer: nn.modules.batchnorm._BatchNorm, name: str) -> nn.Module:
    if type(layer) not in (nn.BatchNorm2d, BatchNorm2d):
        raise ConfigError(
            f"SOLVER.SYNC_BN: {name} is a {type(layer).__name__}, which cannot be synchronised; set it to False, or "
            "take a backbone with plain batch norms"
        )
    if layer.weight.device.type != "cpu":
        return nn.SyncBatchNorm.convert_sync_batchnorm(layer)
    twin = SyncBatchNorm2d(layer.num_features, layer.eps, layer.momentum)
    for kind in ("_parameters", "_buffers"):
        getattr(twin, kind).update(getattr(layer, kind))
    return twin


class SyncBatchNorm2d(BatchNorm2d):
    """Batch norm over the images of all processes, on CPUs; every process has as many."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W) over all but C, and over the processes."""
        world_size = get_world_size()
        if not self.training or world_size == 1:
            return super().forward(input)
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        count = input.numel() // self.num_features * world_size
        mean = _SumOverProcesses.apply(values.sum(dim=(0, 2, 3))) / count  # (C,)
        centred = values - mean[:, None, None]
        var = _SumOverProcesses.apply(centred.square().sum(dim=(0, 2, 3))) / count
        self._follow(mean, var * (count / (count - 1)))
        scale = self.weight * (var + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor) -> None:
        """Take the statistics of a batch into the running ones, as nn.BatchNorm2d does."""
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(var, momentum)


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; each passes on what any of them makes of it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
