"""Layers by hand."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssd.modeling.layers import (
    BatchNorm2d,
    L2Norm,
    SamePaddingConv2d,
    SamePaddingMaxPool2d,
    SeparableConv2d,
    same_padding,
    with_same_padding,
)


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


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "expected"),
    [(300, 3, 2, 1), (75, 3, 2, 2), (38, 5, 2, 3), (75, 5, 2, 4), (19, 3, 1, 2), (19, 5, 1, 4), (1, 1, 2, 0)],
)
def test_same_padding(size: int, kernel_size: int, stride: int, expected: int) -> None:
    # e.g. 300: 150 cells span 149 * 2 + 3 = 301
    assert same_padding(size, kernel_size, stride) == expected


def test_odd_padding_goes_to_the_bottom_and_even_padding_to_both_sides() -> None:
    conv = SamePaddingConv2d(1, 1, kernel_size=3, stride=2, bias=False)
    nn.init.ones_(conv.weight)
    # 4 rows need 1 row of padding, 5 columns need 2: windows see rows 0-2, 2-3 and columns 0-1, 1-3, 3-4.
    expected = torch.outer(torch.tensor([3.0, 2.0]), torch.tensor([2.0, 3.0, 2.0]))
    assert torch.equal(conv(torch.ones(1, 1, 4, 5))[0, 0], expected)


def test_same_padding_of_max_pooling() -> None:
    # Windows of 3 rows from row 0, 2 of 4; of 3 columns from column -1, 1, 3 of 5.
    pooled = SamePaddingMaxPool2d(3, 2)(torch.arange(20.0).reshape(1, 1, 4, 5))
    assert pooled[0, 0].tolist() == [[11, 13, 14], [16, 18, 19]]


@torch.no_grad()
def test_same_padding_follows_each_map() -> None:
    """Even maps are padded at the right and the bottom alone, odd ones on both sides as before."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), nn.Conv2d(4, 4, 3, padding=1, groups=4)
    )
    same = with_same_padding(copy.deepcopy(network))
    assert [type(layer) for layer in same] == [SamePaddingConv2d, nn.Conv2d]
    assert same.state_dict().keys() == network.state_dict().keys()
    odd, even = torch.randn(1, 3, 7, 9), torch.randn(1, 3, 6, 8)
    torch.testing.assert_close(same(odd), network(odd))
    shifted = F.conv2d(F.pad(even, (0, 1, 0, 1)), network[0].weight, stride=2)
    torch.testing.assert_close(same[0](even), shifted)
