"""Layers by hand."""

import pytest
import torch
from torch import nn

from ssd.modeling.layers import BatchNorm2d, L2Norm, SeparableConv2d


def test_l2_norm() -> None:
    """Every position has the learnt norm; zeros have a gradient."""
    norm = L2Norm(3, scale=20)(torch.randn(2, 3, 4, 5)).pow(2).sum(dim=1).sqrt()
    torch.testing.assert_close(norm, torch.full((2, 4, 5), 20.0))
    features = torch.zeros(1, 3, 2, 2, requires_grad=True)
    out = L2Norm(3)(features)
    assert out.eq(0).all()
    out.sum().backward()
    assert features.grad.isfinite().all()


def test_separable_convolution() -> None:
    """It keeps the size, and trains on one image of one cell."""
    layer, features = SeparableConv2d(4, 6), torch.randn(1, 4, 1, 1)
    assert layer(torch.randn(2, 4, 5, 7)).shape == (2, 6, 5, 7)
    trained = layer.train()(features)
    assert torch.equal(trained, layer.eval()(features))  # one value has no variance: the running statistics normalise
    trained.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_batch_norm_of_a_single_value_uses_the_running_statistics() -> None:
    norm = BatchNorm2d(2).train()
    with torch.no_grad():
        norm.running_mean.copy_(torch.tensor([1.0, -1.0]))
        norm.running_var.copy_(torch.tensor([4.0, 0.25]))
        norm.weight.copy_(torch.tensor([1.0, 3.0]))
        norm.bias.copy_(torch.tensor([0.0, 5.0]))
    result = norm(torch.tensor([5.0, 0.0]).reshape(1, 2, 1, 1))
    # (5 - 1) / 2 * 1 + 0 and (0 + 1) / 0.5 * 3 + 5
    torch.testing.assert_close(result.flatten(), torch.tensor([2.0, 11.0]), rtol=1e-4, atol=0)
    assert norm.running_mean.tolist() == [1, -1]
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (1, 3, 1, 2)])
def test_batch_norm_of_several_values_is_torchs(shape: tuple[int, ...]) -> None:
    ours, theirs = BatchNorm2d(3).train(), nn.BatchNorm2d(3).train()
    images = torch.randn(shape)
    assert torch.equal(ours(images), theirs(images))
    assert torch.equal(ours.running_var, theirs.running_var)
