"""The exponential moving average of a model in training."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class ModelAverage(Generic[ModuleT]):
    """Moving average of the weights and batch statistics of a model, from its state on; see ``decay_at``."""

    def __init__(self, model: ModuleT, decay: float):
        self.module: ModuleT = copy.deepcopy(model).requires_grad_(False).eval()  # the average
        self.decay = decay
        self._model = model

    @torch.no_grad()
    def update(self, step: int, skip: Tensor | None = None) -> None:
        """Update the average after optimizer step ``step``, from 1, unless ``skip``, bool () on the device, is true."""
        pairs = list(zip(self.module.state_dict().values(), self._model.state_dict().values(), strict=True))
        smooth = [pair for pair in pairs if pair[0].is_floating_point()]
        averages, values = (list(tensors) for tensors in zip(*smooth, strict=True))
        decay = decay_at(step, self.decay)
        if skip is None:
            get_ema_multi_avg_fn(decay)(averages, values, step)
        else:
            weight = torch.where(skip, 0.0, 1 - decay)
            torch._foreach_lerp_(averages, values, [weight] * len(values))
        for average, value in pairs:
            if not average.is_floating_point():  # the batches that a batch norm has seen
                average.copy_(value)


def decay_at(step: int, decay: float) -> float:
    """Return the share of itself that the average keeps: (1 + step) / (10 + step) until that exceeds ``decay``.

    So the first weights are soon forgotten (num_updates of TensorFlow's ExponentialMovingAverage).
    """
    return min(decay, (1 + step) / (10 + step))
