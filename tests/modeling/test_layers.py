"""Layers by hand."""

import torch

from ssd.modeling.layers import L2Norm, SeparableConv2d


def test_l2_norm_gives_every_position_the_learnt_norm() -> None:
    features = torch.randn(2, 3, 4, 5)
    layer = L2Norm(3, scale=20)
    norm = layer(features).pow(2).sum(dim=1).sqrt()
    torch.testing.assert_close(norm, torch.full((2, 4, 5), 20.0))


def test_l2_norm_of_nothing_has_a_gradient() -> None:
    features = torch.zeros(1, 3, 2, 2, requires_grad=True)
    out = L2Norm(3)(features)
    assert out.eq(0).all()
    out.sum().backward()
    assert features.grad.isfinite().all()


def test_separable_convolution_keeps_the_size() -> None:
    layer = SeparableConv2d(4, 6)
    assert layer(torch.randn(2, 4, 5, 7)).shape == (2, 6, 5, 7)
    assert [name for name, _ in layer.named_parameters()] == [
        *("conv.0.weight", "conv.0.bias", "conv.1.weight", "conv.1.bias", "conv.3.weight", "conv.3.bias"),
    ]
