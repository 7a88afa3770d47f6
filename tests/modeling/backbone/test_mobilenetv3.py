"""MobileNetV3 against torchvision's, and layouts of published weights; test_goldens.py holds it to lufficc/SSD."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from ssd.config import load_config
from ssd.modeling import registry
from ssd.modeling.backbone.mobilenetv3 import PRETRAINED_URL, MobileNetV3, SqueezeExcitation
from ssd.utils.errors import CheckpointError
from tests.modeling.backbone.outputs import outputs_at


def test_squeeze_and_excitation_by_hand() -> None:
    module = SqueezeExcitation(16)  # 16 // 4 = 4 channels, rounded up to 8
    assert [tuple(p.shape) for p in module.parameters()] == [(8, 16), (8,), (16, 8), (16,)]
    nn.init.constant_(module.fc[0].weight, 1 / 16)  # the mean over channels
    nn.init.constant_(module.fc[2].weight, 1 / 8)
    nn.init.zeros_(module.fc[0].bias)
    nn.init.constant_(module.fc[2].bias, -0.5)
    features = torch.ones(2, 16, 2, 2)
    features[0, :, 0, 0] = 5  # means 2 and 1
    # hard sigmoid (x + 3) / 6 of 2 - 0.5 and of 1 - 0.5
    expected = features * torch.tensor([4.5 / 6, 3.5 / 6])[:, None, None, None]
    torch.testing.assert_close(module(features), expected)


def squeeze_before_activation(reference: nn.Module) -> nn.Sequential:
    """Move the activation behind squeeze and excitation, where d-li14's network and so ours has it."""
    for stage in reference.features[1:16]:
        block = stage.block
        if len(block) == 4:  # expansion, filter, squeeze, projection
            conv, norm, activation = block[1]
            block[1], block[2] = nn.Sequential(conv, norm), nn.Sequential(block[2], activation)
    return reference.features


@torch.no_grad()
def test_features_from_a_file_of_torchvision_are_its_reordered_networks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, randomise: Callable[[nn.Module], None]
) -> None:
    reference = models.mobilenet_v3_large(weights=None)
    randomise(reference)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    with caplog.at_level(logging.INFO):
        model = registry.BACKBONES["mobilenet_v3"](load_config(None), str(tmp_path / "weights.pth"))
    assert "squeeze and excitation after the activation" in caplog.text
    model = model.double().eval()
    stages = squeeze_before_activation(reference.double().eval())
    images = torch.randn(2, 3, 96, 65, dtype=torch.float64)
    expected = outputs_at((12, 16), stages, images)
    for ours, theirs in zip(model(images), expected, strict=False):
        assert theirs.std() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.fixture
def published(randomise: Callable[[nn.Module], None]) -> Callable[[str], dict[str, Tensor]]:
    """From the name of the last convolution to a state dict of the layout of d-li14's files, with random weights."""

    def make(last: str) -> dict[str, Tensor]:
        model = MobileNetV3()
        randomise(model)
        weights = {
            re.sub(r"^features\.16\.", last, name): value
            for name, value in model.state_dict().items()
            if not name.startswith("extras.")
        }
        classifier = {"classifier.0.weight": torch.zeros(1280, 960), "classifier.3.weight": torch.zeros(1000, 1280)}
        return weights | classifier

    return make


@pytest.mark.parametrize("last", ["conv.", "conv.0.", "features.16."])
def test_published_weights_fill_all_but_the_extras(
    last: str, tmp_path: Path, published: Callable[[str], dict[str, Tensor]]
) -> None:
    weights = published(last)
    torch.save(weights, tmp_path / "weights.pth")
    torch.manual_seed(5)
    model = registry.BACKBONES["mobilenet_v3"](load_config(None), str(tmp_path / "weights.pth"))
    torch.manual_seed(5)
    initial = registry.BACKBONES["mobilenet_v3"](load_config(None), False).state_dict()
    for name, value in model.state_dict().items():
        source = initial[name] if name.startswith("extras.") else weights[re.sub(r"^features\.16\.", last, name)]
        assert torch.equal(value, source), name


def test_weights_without_the_last_convolution_are_refused(
    tmp_path: Path, published: Callable[[str], dict[str, Tensor]]
) -> None:
    weights = {name: value for name, value in published("conv.").items() if not name.startswith("conv.")}
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"in the model but not in the checkpoint \(6\): features\.16\.0\.weight"):
        registry.BACKBONES["mobilenet_v3"](load_config(None), str(tmp_path / "weights.pth"))


def test_the_small_network_of_torchvision_is_refused(tmp_path: Path) -> None:
    torch.save(models.mobilenet_v3_small(weights=None).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"weights\.pth does not fit"):
        registry.BACKBONES["mobilenet_v3"](load_config(None), str(tmp_path / "weights.pth"))


def test_true_asks_for_the_documented_file(
    serve: Callable[[dict[str, Tensor]], list[str]], published: Callable[[str], dict[str, Tensor]]
) -> None:
    asked = serve(published("conv."))
    registry.BACKBONES["mobilenet_v3"](load_config(None), True)
    assert asked == [PRETRAINED_URL]
