"""The exponential moving average of a model in training."""

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class ModelAverage:
    """Keeps the average of a model's weights and batch statistics over its steps.

    Args:
        model: averaged; what it has now is where the average starts.
        decay: what the average keeps of itself at a step, below 1; less in the first steps, see ``decay_at``.

    Attributes:
        module: a model of its own that holds the average, in evaluation mode.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.module = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay = decay
        self._model = model

    @torch.no_grad()
    def update(self, step: int, keep: Tensor | None = None) -> None:
        """Take the model into the average after an optimizer step.

        Args:
            step: its number, from 1.
            keep: bool () on the model's device; where true, the average stays as it is. None = it does not.
        """
        pairs = list(zip(self.module.state_dict().values(), self._model.state_dict().values(), strict=True))
        smooth = [pair for pair in pairs if pair[0].is_floating_point()]
        averages, values = (list(tensors) for tensors in zip(*smooth, strict=True))
        decay = decay_at(step, self.decay)
        if keep is None:
            get_ema_multi_avg_fn(decay)(averages, values, step)
        else:
            weight = torch.where(keep, 0.0, 1 - decay)
            torch._foreach_lerp_(averages, values, [weight] * len(values))
        for average, value in pairs:
            if not average.is_floating_point():  # the batches that a batch norm has seen
                average.copy_(value)


def decay_at(step: int, decay: float) -> float:
    """Return the decay of the ``step``-th step: (1 + step) / (10 + step) until that exceeds ``decay``.

    So the first weights, which are random in part, are soon forgotten (num_updates of TensorFlow's
    ExponentialMovingAverage).
    """
    return min(decay, (1 + step) / (10 + step))
