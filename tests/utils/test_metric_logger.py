import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssd.utils.metric_logger import MetricLogger, SmoothedValue


def test_the_smoothed_mean_is_of_finite_values() -> None:
    series = SmoothedValue(window=3)
    series.update(math.nan)
    assert math.isnan(series.avg)
    for value in (1.0, torch.tensor(math.inf), 3.0):
        series.update(value)
    assert series.avg == 2.0


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40), st.integers(1, 12))
def test_means_of_floats_and_tensors(values: list[float], window: int) -> None:
    series = SmoothedValue(window)
    for count, value in enumerate(values, start=1):
        series.update(torch.tensor(value, dtype=torch.float64) if count % 2 else value)
        recent = values[:count][-window:]
        assert series.value == value
        assert math.isclose(series.avg, math.fsum(recent) / len(recent), abs_tol=1e-9)


def test_update_does_not_read_the_tensor_and_keeps_neither_graph_nor_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(tensor: torch.Tensor) -> float:
        raise AssertionError("synchronised with the device")

    series, loss = SmoothedValue(window=3), torch.tensor(8.0, requires_grad=True) * 1
    with monkeypatch.context() as patch:
        for name in ("item", "__float__", "__bool__", "tolist", "cpu", "numpy"):
            patch.setattr(torch.Tensor, name, refuse)
        series.update(loss)
    with torch.no_grad():
        loss.zero_()
    assert series.avg == 8.0  # without the warning that a tensor requires grad


def test_text_is_smoothed_then_last_in_order_of_first_update() -> None:
    metrics = MetricLogger(window=2)
    metrics.update(total_loss=9.0, cls_loss=torch.tensor(1.0))
    metrics.update(total_loss=1.0, cls_loss=torch.tensor(2.0))
    metrics.update(total_loss=2.0, cls_loss=torch.tensor(4.0), time=0.25)
    assert str(metrics) == "total_loss: 1.500 (2.000), cls_loss: 3.000 (4.000), time: 0.250 (0.250)"
