"""torchvision's MobileNetV3 with maps from within blocks, and the blocks of the qfgaohao port."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from ssd.config import load_config
from ssd.modeling import registry
from ssd.modeling.backbone.mobilenetv3 import Block
from ssd.modeling.backbone.mobilenetv3_qfgaohao import InvertedResidual, SqueezeExcitation
from ssd.modeling.backbone.mobilenetv3_ssdlite import PRETRAINED_URL
from ssd.modeling.backbone.stages import feature_shapes
from ssd.utils.errors import CheckpointError, ConfigError
from tests.modeling.backbone.outputs import watch

WITHOUT_WEIGHTS = ["mobilenet_v3_ssdlite_reduced", "mobilenet_v3_large_qfgaohao", "mobilenet_v3_small_qfgaohao"]


@torch.no_grad()
def test_maps_from_a_file_of_torchvision_are_its_expansions(
    tmp_path: Path, randomise: Callable[[nn.Module], None]
) -> None:
    reference = models.mobilenet_v3_large(weights=None)
    randomise(reference)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    config = load_config(None, ["MODEL.BACKBONE.OUT_INDICES", [1, 7, 13, 16]])
    model = registry.BACKBONES["mobilenet_v3_ssdlite"](config, str(tmp_path / "weights.pth")).double().eval()

    stages = reference.double().eval().features
    expected = watch({index: stages[index].block[0] for index in (7, 13)})
    images = torch.randn(2, 3, 96, 65, dtype=torch.float64)
    last = stages(images)
    features = model(images)
    assert [feature.shape[1] for feature in features[:4]] == [16, 240, 672, 960]
    torch.testing.assert_close(features[0], stages[0](images))  # block 1 does not expand
    for ours, theirs in zip(features[1:4], (expected[7], expected[13], last), strict=True):
        assert theirs.std() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)  # eps is float32 in the running variances


def test_published_weights_fill_all_but_the_extras(serve: Callable[[dict[str, Tensor]], list[str]]) -> None:
    weights = models.mobilenet_v3_large(weights=None).state_dict()
    asked = serve(weights)
    torch.manual_seed(5)
    model = registry.BACKBONES["mobilenet_v3_ssdlite"](load_config(None), True)
    assert asked == [PRETRAINED_URL]
    torch.manual_seed(5)
    initial = registry.BACKBONES["mobilenet_v3_ssdlite"](load_config(None), False).state_dict()
    for name, value in model.state_dict().items():
        is_extra = name.startswith("extras.")
        expected = initial[name] if is_extra else weights[name.replace(".conv.", ".block.")]
        if name.endswith("running_var") and not is_extra:
            expected = expected + (1e-3 - 1e-5)
        assert torch.equal(value, expected), name


def test_the_small_network_of_torchvision_is_refused(serve: Callable[[dict[str, Tensor]], list[str]]) -> None:
    serve(models.mobilenet_v3_small(weights=None).state_dict())
    with pytest.raises(CheckpointError, match="does not fit"):
        registry.BACKBONES["mobilenet_v3_ssdlite"](load_config(None), True)


@pytest.mark.parametrize("pretrained", [True, "weights.pth"])
@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_the_others_have_no_weights(name: str, pretrained: bool | str) -> None:
    config = load_config(None, ["MODEL.BACKBONE.NAME", name])
    with pytest.raises(ConfigError, match=rf"'{name}' has no ImageNet weights: set MODEL\.BACKBONE\.PRETRAINED False"):
        registry.BACKBONES[name](config, pretrained)


@pytest.mark.parametrize("name", ["mobilenet_v3_ssdlite", *WITHOUT_WEIGHTS])
def test_other_layers_by_number(name: str) -> None:
    config = load_config(None, ["MODEL.BACKBONE.OUT_INDICES", [7, 12]])
    with torch.device("meta"):
        model = registry.BACKBONES[name](config, False)
    assert len(feature_shapes(model, (320, 320))) == 6
    with pytest.raises(ConfigError, match=r"OUT_INDICES must ascend within 0 to 1[26]"):
        registry.BACKBONES[name](load_config(None, ["MODEL.BACKBONE.OUT_INDICES", [7, 99]]), False)


@torch.no_grad()
def test_squeeze_and_excitation_by_hand() -> None:
    module = SqueezeExcitation(4).eval()  # 4 // 4 = 1 channel
    _, reduce, _, _, widen, last_norm, _ = module.weigh
    nn.init.constant_(reduce.weight, 1 / 4)  # the mean over channels
    nn.init.constant_(widen.weight, 1)
    nn.init.constant_(last_norm.bias, -0.5)
    features = torch.ones(2, 4, 2, 2)
    features[0, :, 0, 0] = 5  # means 2 and 1; batch norms of variance 1 leave them
    # hard sigmoid (x + 3) / 6 of 2 - 0.5 and of 1 - 0.5
    expected = features * torch.tensor([4.5 / 6, 3.5 / 6])[:, None, None, None]
    torch.testing.assert_close(module(features), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("in_channels", "stride", "skip"),
    [(8, 1, "input"), (16, 1, "convolution"), (8, 2, None), (16, 2, None)],
)
def test_skips(in_channels: int, stride: int, skip: str | None) -> None:
    """With a projection of zeros, the skip is left."""
    block = InvertedResidual(in_channels, Block(3, 16, 8, True, False, stride)).eval()
    nn.init.zeros_(block.conv[6].weight)
    features = torch.randn(1, in_channels, 6, 6)
    expected = {"input": features, "convolution": block.shortcut(features), None: torch.zeros(1, 8, 3, 3)}[skip]
    torch.testing.assert_close(block(features), expected)
    assert any(True for _ in block.shortcut.parameters()) == (skip == "convolution")
