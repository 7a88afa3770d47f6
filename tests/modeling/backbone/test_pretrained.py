"""Weights from a file: everything accounted for, or an error."""

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from ssd.modeling.backbone.pretrained import load_pretrained
from ssd.utils.errors import CheckpointError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(2, 3)
        self.extras = nn.Linear(3, 3)


def write(path: Path, **tensors: torch.Tensor) -> str:
    torch.save({name.replace("__", "."): tensor for name, tensor in tensors.items()}, path)
    return str(path)


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A file of ones, without the extras and with a classifier."""
    return write(
        tmp_path / "weights.pth",
        features__weight=torch.ones(3, 2),
        features__bias=torch.ones(3),
        classifier__weight=torch.ones(5, 3),
    )


def test_loaded_new_and_unused_tensors_are_logged(source, caplog) -> None:
    model = Net()
    extras = model.extras.weight.clone()
    with caplog.at_level(logging.INFO):
        load_pretrained(model, source, new=[r"extras\."], unused=[r"classifier\."])
    assert model.features.weight.eq(1).all()
    assert torch.equal(model.extras.weight, extras)
    assert [fact in caplog.text for fact in ("2 of 4", "extras (2)", "classifier (1)")] == [True] * 3


@pytest.mark.parametrize(("new", "unused"), [([], [r"classifier\."]), ([r"extras\."], []), (None, None)])
def test_a_gap_that_is_not_named_is_an_error(source, tmp_path, new, unused) -> None:
    """None = a file of something else, where all may be missing."""
    if new is None:
        source = write(tmp_path / "weights.pth", classifier__weight=torch.ones(5, 3))
    model = Net()
    before = model.features.weight.clone()
    with pytest.raises(CheckpointError, match=r"weights\.pth"):
        load_pretrained(model, source, new=[".*"] if new is None else new, unused=[".*"] if unused is None else unused)
    assert torch.equal(model.features.weight, before)


def test_converted_names(tmp_path) -> None:
    source = write(tmp_path / "weights.pth", w=torch.ones(3, 2), b=torch.ones(3))
    names = {"w": "features.weight", "b": "features.bias"}
    model = Net()
    load_pretrained(model, source, convert=lambda old: {names[k]: v for k, v in old.items()}, new=[r"extras\."])
    assert model.features.bias.eq(1).all()
