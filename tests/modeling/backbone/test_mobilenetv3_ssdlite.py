"""torchvision's MobileNetV3 with maps from within blocks, and the blocks of the qfgaohao port."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from ssd.config import load_config
from ssd.engine.folding import fold_batch_norms
from ssd.modeling import registry
from ssd.modeling.backbone.mobilenetv3 import Block
from ssd.modeling.backbone.mobilenetv3_qfgaohao import InvertedResidual, SqueezeExcitation
from ssd.modeling.backbone.mobilenetv3_ssdlite import PRETRAINED_URL
from ssd.modeling.backbone.shapes import feature_shapes
from ssd.utils.errors import CheckpointError, ConfigError

CHANNELS = {
    "mobilenet_v3_ssdlite": [672, 960, 512, 256, 256, 128],
    "mobilenet_v3_ssdlite_reduced": [672, 480, 512, 256, 256, 128],
    "mobilenet_v3_large_qfgaohao": [112, 960, 512, 256, 256, 64],
    "mobilenet_v3_small_qfgaohao": [48, 576, 512, 256, 256, 64],
}


@torch.no_grad()
def test_maps_from_a_file_of_torchvision_are_its_expansions(
    tmp_path: Path, randomise: Callable[[nn.Module], None]
) -> None:
    reference = models.mobilenet_v3_large(weights=None)
    randomise(reference)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    config = load_config(None, ["MODEL.BACKBONE.OUT_INDICES", [1, 7, 13, 16]])
    model = registry.BACKBONES["mobilenet_v3_ssdlite"](config, str(tmp_path / "weights.pth")).double().eval()

    expected: dict[int, Tensor] = {}
    stages = reference.double().eval().features
    for index in (7, 13):
        expand = stages[index].block[0]
        expand.register_forward_hook(lambda _, __, output, index=index: expected.update({index: output}))
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
@pytest.mark.parametrize("name", list(CHANNELS)[1:])
def test_the_others_have_no_weights(name: str, pretrained: bool | str) -> None:
    config = load_config(None, ["MODEL.BACKBONE.NAME", name])
    with pytest.raises(ConfigError, match=rf"'{name}' has no ImageNet weights: set MODEL\.BACKBONE\.PRETRAINED False"):
        registry.BACKBONES[name](config, pretrained)


@pytest.mark.parametrize(
    ("image_size", "maps"),
    [
        ((320, 320), [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]),
        ((300, 480), [(19, 30), (10, 15), (5, 8), (3, 4), (2, 2), (1, 1)]),
        ((33, 65), [(3, 5), (2, 3), (1, 2), (1, 1), (1, 1), (1, 1)]),
    ],
)
@pytest.mark.parametrize("name", CHANNELS)
def test_maps(name: str, image_size: tuple[int, int], maps: list[tuple[int, int]]) -> None:
    with torch.device("meta"):
        model = registry.BACKBONES[name](load_config(None), False)
    expected = [(channels, *cells) for channels, cells in zip(CHANNELS[name], maps, strict=True)]
    assert feature_shapes(model, image_size) == expected


@pytest.mark.parametrize("name", CHANNELS)
def test_other_layers_by_number(name: str) -> None:
    config = load_config(None, ["MODEL.BACKBONE.OUT_INDICES", [7, 12]])
    with torch.device("meta"):
        model = registry.BACKBONES[name](config, False)
    assert len(feature_shapes(model, (320, 320))) == 6
    with pytest.raises(ConfigError, match=r"OUT_INDICES must ascend within 0 to 1[26]"):
        registry.BACKBONES[name](load_config(None, ["MODEL.BACKBONE.OUT_INDICES", [7, 99]]), False)


@pytest.mark.parametrize("num_images", [1, 2])
@pytest.mark.parametrize("name", CHANNELS)
def test_every_parameter_learns_down_to_one_image_on_one_cell(name: str, num_images: int) -> None:
    model = registry.BACKBONES[name](load_config(None), False).train()
    features = model(torch.randn(num_images, 3, 96, 128))
    assert features[-1].shape[2:] == (1, 1)
    sum(feature.square().sum() for feature in features).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


@torch.no_grad()
@pytest.mark.parametrize("name", CHANNELS)
def test_batch_norms_fold_and_the_graph_exports(name: str, randomise: Callable[[nn.Module], None]) -> None:
    model = registry.BACKBONES[name](load_config(None), False).eval()
    randomise(model)
    images = torch.randn(1, 3, 64, 64)
    expected = model(images)
    folded = fold_batch_norms(model)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    exported = torch.export.export(model, (images,)).module()
    for features in (folded(images), exported(images)):
        for feature, same in zip(features, expected, strict=True):
            assert same.std() > 1e-3
            torch.testing.assert_close(feature, same, rtol=1e-3, atol=1e-4)


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
