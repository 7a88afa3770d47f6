"""The moving average: by hand, with batch statistics."""

import pytest
import torch
from torch import nn

from ssd.solver import ModelAverage
from ssd.solver.ema import decay_at


def test_decay_rises_to_its_value() -> None:
    assert [decay_at(step, 0.5) for step in (1, 2, 6, 7, 8, 1000)] == pytest.approx(
        [2 / 11, 0.25, 7 / 16, 8 / 17, 0.5, 0.5]
    )


def test_steps_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = ModelAverage(model, 0.25)
    for step, (weight, expected) in enumerate([(11.0, 9.0), (1.0, 3.0), (1.0, 1.5)], start=1):
        nn.init.constant_(model.weight, weight)  # kept: 2/11 of 0, 1/4 of 9, 1/4 of 3
        average.update(step)
        assert average.module.weight.item() == pytest.approx(expected)
    assert not average.module.weight.requires_grad
    assert not average.module.training


def test_batch_statistics_are_averaged_and_counts_are_copied() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1))
    average = ModelAverage(model, 0.25)
    model(torch.full((2, 1, 2, 2), 10.0))  # the running mean goes from 0 to 1, the variance from 1 to 0.9
    average.update(100)
    (norm,) = average.module
    assert norm.running_mean.item() == pytest.approx(0.75)
    assert norm.running_var.item() == pytest.approx(0.925)
    assert norm.num_batches_tracked == 1


def test_the_average_keeps_the_layout() -> None:
    model = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
    average = ModelAverage(model, 0.9)
    average.update(1)
    assert average.module.weight.is_contiguous(memory_format=torch.channels_last)


def test_the_device_may_skip_an_update() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = ModelAverage(model, 0.25)
    nn.init.constant_(model.weight, 8.0)
    average.update(100, skip=torch.tensor(True))
    assert average.module.weight.item() == 0
    average.update(100, skip=torch.tensor(False))
    assert average.module.weight.item() == pytest.approx(6.0)
