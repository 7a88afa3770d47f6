import math
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssd.utils.metric_logger import MetricLogger, SmoothedValue


def test_the_smoothed_mean_is_of_what_is_finite() -> None:
    series = SmoothedValue(window=3)
    series.update(math.nan)
    assert math.isnan(series.avg)
    for value in (1.0, torch.tensor(math.inf), 3.0):
        series.update(value)
    assert series.avg == 2.0


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40), st.integers(1, 12), st.integers(1, 40))
def test_means_of_floats_and_tensors_read_at_any_time(values: list[float], window: int, read_every: int) -> None:
    series = SmoothedValue(window)
    for count, value in enumerate(values, start=1):
        series.update(torch.tensor(value, dtype=torch.float64) if count % 2 else value)
        if count % read_every == 0:
            recent = values[:count][-window:]
            assert math.isclose(series.avg, math.fsum(recent) / len(recent), abs_tol=1e-9)
    recent = values[-window:]
    assert series.value == values[-1]
    assert math.isclose(series.avg, math.fsum(recent) / len(recent), abs_tol=1e-9)


def test_update_does_not_read_the_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(tensor: torch.Tensor) -> float:
        raise AssertionError("synchronised with the device")

    series = SmoothedValue(window=3)
    with monkeypatch.context() as patch:
        for name in ("item", "__float__", "__bool__", "tolist", "cpu", "numpy"):
            patch.setattr(torch.Tensor, name, refuse)
        for value in range(10):
            series.update(torch.tensor(float(value)))
    assert series.avg == 8.0


def test_graph_and_memory_of_the_loss_are_not_kept() -> None:
    parameter = torch.full((), 2.0, requires_grad=True)
    saved: list[weakref.ref] = []

    def pack(tensor: torch.Tensor) -> np.ndarray:
        array = tensor.detach().numpy().copy()
        saved.append(weakref.ref(array))
        return array

    with torch.autograd.graph.saved_tensors_hooks(pack, torch.from_numpy):
        loss = parameter * parameter
    series = SmoothedValue()
    series.update(loss)
    with torch.no_grad():
        loss.zero_()
    del loss
    assert [reference() for reference in saved] == [None, None]
    assert series.value == 4.0


def test_only_single_numbers_are_metrics() -> None:
    with pytest.raises(AssertionError, match=r"\(2,\)"):
        SmoothedValue().update(torch.zeros(2))


def test_text_is_smoothed_then_last_in_order_of_first_update() -> None:
    metrics = MetricLogger(window=2)
    metrics.update(total_loss=9.0, cls_loss=torch.tensor(1.0))
    metrics.update(total_loss=1.0, cls_loss=torch.tensor(2.0))
    metrics.update(total_loss=2.0, cls_loss=torch.tensor(4.0), time=0.25)
    assert str(metrics) == "total_loss: 1.500 (2.000), cls_loss: 3.000 (4.000), time: 0.250 (0.250)"
