"""EfficientNet against hand-worked numbers and torchvision's networks; test_goldens.py holds it to lufficc/SSD."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from ssd.modeling.backbone.efficient_net import PRETRAINED_URLS, EfficientNet, MBConvBlock
from ssd.modeling.backbone.stages import feature_shapes
from tests.modeling.backbone.outputs import outputs_at, randomise

CONFIGS = Path(__file__).parents[3] / "configs"
VARIANTS = ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"]
# 32 k + 1: every strided convolution meets an odd size, where TensorFlow's padding and torchvision's agree.
ODD_SIZE = (97, 65)


def torchvision_model(variant: str) -> nn.Module:
    """torchvision's network with the batch norm of the authors (its own default differs for b0 to b4)."""
    model = models.get_model(f"efficientnet_{variant}", weights=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-3, 0.01
    return model


def without_extras(model: EfficientNet) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if not name.startswith("extras.")}


def copy_of(reference: nn.Module, variant: str) -> EfficientNet:
    """Our network with torchvision's weights: both list their tensors in the order of computation."""
    model = EfficientNet(variant, ODD_SIZE)
    names = without_extras(model)
    values = reference.features[:8].state_dict().values()
    model.load_state_dict({**model.state_dict(), **dict(zip(names, values, strict=True))})
    return model


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_the_tensors_of_torchvision(variant: str) -> None:
    with torch.device("meta"):
        model = EfficientNet(variant, (300, 300))
        reference = models.get_model(f"efficientnet_{variant}", weights=None)
    theirs = reference.features[:8].state_dict()
    assert [v.shape for v in without_extras(model).values()] == [v.shape for v in theirs.values()]
    stages = reference.features[1:8]
    assert sum(isinstance(module, MBConvBlock) for module in model.modules()) == sum(map(len, stages))
    channels = [stages[i][-1].out_channels for i in (2, 4, 6)]
    assert [shape[0] for shape in feature_shapes(model, (300, 300))[:3]] == channels
    assert f"efficientnet-{variant}-" in PRETRAINED_URLS[variant]


@torch.no_grad()
@pytest.mark.parametrize("variant", ["b0", "b3"])
def test_features_are_those_of_torchvision(variant: str) -> None:
    reference = torchvision_model(variant).double().eval()
    randomise(reference)
    model = copy_of(reference, variant).double().eval()
    images = torch.randn(2, 3, *ODD_SIZE, dtype=torch.float64)
    expected = outputs_at((3, 5, 7), reference.features[:8], images)
    for ours, theirs in zip(model(images), expected, strict=False):
        assert theirs.std() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_training_skips_blocks_and_tracks_statistics_as_torchvision_does() -> None:
    reference = torchvision_model("b0").double().train()
    model = copy_of(reference, "b0").double().train()
    images = torch.randn(4, 3, *ODD_SIZE, dtype=torch.float64)
    torch.manual_seed(1)
    expected = outputs_at((3, 5, 7), reference.features[:8], images)
    torch.manual_seed(1)
    for ours, theirs in zip(model(images), expected, strict=False):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    values = reference.features[:8].state_dict().values()
    for (name, ours), theirs in zip(without_extras(model).items(), values, strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)
