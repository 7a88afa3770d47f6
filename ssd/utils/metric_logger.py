"""Running means of losses. An update does not wait for the device; reading does."""

import math
from collections import deque

from torch import Tensor


class SmoothedValue:
    """The last ``window`` values of a series."""

    def __init__(self, window: int = 10):
        self._recent: deque[float | Tensor] = deque(maxlen=window)

    def update(self, value: float | Tensor) -> None:
        """Append a number or a 0-d tensor."""
        # A copy, since the caller may reuse the memory.
        self._recent.append(value.detach().clone() if isinstance(value, Tensor) else value)

    @property
    def value(self) -> float:
        """Last value."""
        return float(self._recent[-1])

    @property
    def avg(self) -> float:
        """Mean of the finite values; nan if there is none."""
        finite = [value for value in map(float, self._recent) if math.isfinite(value)]
        return sum(finite) / len(finite) if finite else math.nan


class MetricLogger:
    """Smoothed values by name in ``meters``; str() is ``name: mean (last)`` of each, in the order of their arrival."""

    def __init__(self, window: int = 10):
        self._window = window
        self.meters: dict[str, SmoothedValue] = {}

    def update(self, **values: float | Tensor) -> None:
        """Append a number or a 0-d tensor to each named series."""
        for name, value in values.items():
            self.meters.setdefault(name, SmoothedValue(self._window)).update(value)

    def __str__(self) -> str:
        return ", ".join(f"{name}: {meter.avg:.3f} ({meter.value:.3f})" for name, meter in self.meters.items())
