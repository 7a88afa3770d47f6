"""Running means of losses and times. An update never waits for the device; only reading does."""

import math
from collections import deque

from torch import Tensor


class SmoothedValue:
    """A series of numbers: its last value, and the mean of its last few.

    Args:
        window: how many values the smoothed mean covers.
    """

    def __init__(self, window: int = 10):
        self._recent: deque[float | Tensor] = deque(maxlen=window)

    def update(self, value: float | Tensor) -> None:
        """Append a number, or a 0-d tensor, which stays on its device until somebody reads."""
        if isinstance(value, Tensor):
            assert value.ndim == 0, f"a metric is one number, got shape {tuple(value.shape)}"
            value = value.detach().clone()  # the caller may reuse its memory
        self._recent.append(value)

    @property
    def value(self) -> float:
        """The last value."""
        return float(self._recent[-1])

    @property
    def avg(self) -> float:
        """The mean of the last ``window`` values, without those that are not finite; nan if none is."""
        recent = [float(value) for value in self._recent]
        self._recent = deque(recent, maxlen=self._recent.maxlen)
        finite = [value for value in recent if math.isfinite(value)]
        return sum(finite) / len(finite) if finite else math.nan


class MetricLogger:
    """Smoothed values by name, in the order of their first update.

    ``str()`` gives ``name: smoothed (last)`` for each, as in "total_loss: 5.132 (4.981), cls_loss: 3.011 (2.904)".

    Args:
        window: how many values the smoothed means cover.

    Attributes:
        meters: the series by name.
    """

    def __init__(self, window: int = 10):
        self._window = window
        self.meters: dict[str, SmoothedValue] = {}

    def update(self, **values: float | Tensor) -> None:
        """Append one number, or 0-d tensor, to each named series."""
        for name, value in values.items():
            self.meters.setdefault(name, SmoothedValue(self._window)).update(value)

    def __str__(self) -> str:
        return ", ".join(f"{name}: {meter.avg:.3f} ({meter.value:.3f})" for name, meter in self.meters.items())
