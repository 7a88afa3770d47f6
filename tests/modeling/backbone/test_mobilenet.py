"""MobileNet V2 and V3 against torchvision; test_goldens.py has lufficc/SSD, and tests/weights the qfgaohao port."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from ssd.config import load_config
from ssd.modeling import registry
from ssd.modeling.backbone.mobilenetv2 import MobileNetV2
from ssd.modeling.backbone.mobilenetv3 import SqueezeExcitation
from ssd.modeling.backbone.mobilenetv3_qfgaohao import QfgaohaoSqueezeExcitation
from tests.modeling.backbone.outputs import outputs_at, randomise, watch

Pairs = Callable[[str, str, list[int]], tuple[nn.Module, nn.Module]]


@pytest.fixture
def from_torchvision(tmp_path: Path) -> Pairs:
    """Our network with the random weights of a file of torchvision's network, and the layers of that, in float64."""

    def build(name: str, theirs: str, out_indices: list[int]) -> tuple[nn.Module, nn.Module]:
        reference = models.get_model(theirs, weights=None)
        randomise(reference)
        torch.save(reference.state_dict(), tmp_path / "weights.pth")
        config = load_config(None, ["MODEL.BACKBONE.OUT_INDICES", out_indices])
        model = registry.BACKBONES[name](config, str(tmp_path / "weights.pth"))
        return model.double().eval(), reference.features.double().eval()

    return build


def assert_features(features: tuple[Tensor, ...], expected: list[Tensor]) -> None:
    for ours, theirs in zip(features, expected, strict=False):
        assert theirs.std() > 1e-3
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)  # eps is float32 in V3's running variances


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
def test_v2_features_are_torchvisions(from_torchvision, training) -> None:
    model, reference = from_torchvision("mobilenet_v2", "mobilenet_v2", [])
    model, reference = model.train(training), reference.train(training)
    images = torch.randn(2, 3, 96, 65, dtype=torch.float64)
    expected = outputs_at((13, 18), reference, images)
    assert_features(model(images), expected)
    for name, tensor in reference.state_dict().items():  # the statistics too, in training
        torch.testing.assert_close(model.features.state_dict()[name], tensor, msg=name)


@torch.no_grad()
def test_v3_features_are_those_of_torchvision_with_squeeze_before_activation(from_torchvision, caplog) -> None:
    model, reference = from_torchvision("mobilenet_v3", "mobilenet_v3_large", [])
    assert [record.levelno for record in caplog.records if "torchvision" in record.message] == [logging.WARNING]
    for stage in reference[1:16]:
        block = stage.block
        if len(block) == 4:  # expansion, filter, squeeze, projection
            conv, norm, activation = block[1]
            block[1], block[2] = nn.Sequential(conv, norm), nn.Sequential(block[2], activation)
    images = torch.randn(2, 3, 96, 65, dtype=torch.float64)
    assert_features(model(images), outputs_at((12, 16), reference, images))


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "theirs", "out_indices", "channels"),
    [
        ("mobilenet_v2_expansion", "mobilenet_v2", [1, 7, 14, 18], [32, 192, 576, 1280]),
        ("mobilenet_v3_ssdlite", "mobilenet_v3_large", [1, 7, 13, 16], [16, 240, 672, 960]),
    ],
)
def test_maps_from_within_blocks_are_torchvisions_expansions(name, theirs, out_indices, channels, from_torchvision):
    model, reference = from_torchvision(name, theirs, out_indices)
    inner = out_indices[1:-1]
    blocks = {index: getattr(reference[index], "block" if "v3" in name else "conv") for index in inner}
    expansions = watch({index: block[0] for index, block in blocks.items()})
    images = torch.randn(2, 3, 96, 65, dtype=torch.float64)
    last = reference(images)
    features = model(images)
    assert [feature.shape[1] for feature in features[:4]] == channels
    # Block 1 does not expand.
    assert_features(features, [reference[0](images), *(expansions[index] for index in inner), last])


def test_weights_in_half_precision_become_float32(serve) -> None:
    weights = MobileNetV2().state_dict()
    halves = {name: t.half() if t.dim() == 4 else t for name, t in weights.items() if not name.startswith("extras.")}
    serve(halves)
    model = registry.BACKBONES["mobilenet_v2"](load_config(None), "weights.pth")
    loaded = model.state_dict()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    for name, value in halves.items():
        assert torch.equal(loaded[name], value.to(loaded[name].dtype)), name


@torch.no_grad()
@pytest.mark.parametrize("kind", [SqueezeExcitation, QfgaohaoSqueezeExcitation])
def test_squeeze_and_excitation_by_hand(kind) -> None:
    module = kind(32).eval()  # 32 // 4 = 8 channels
    reduce, widen = (layer for layer in module.modules() if isinstance(layer, (nn.Linear, nn.Conv2d)))
    assert (reduce.weight.shape[:2], widen.weight.shape[:2]) == ((8, 32), (32, 8))
    biases = [reduce.bias, widen.bias] if kind is SqueezeExcitation else [module.weigh[2].bias, module.weigh[5].bias]
    nn.init.constant_(reduce.weight, 1 / 32)  # the mean over channels
    nn.init.constant_(widen.weight, 1 / 8)
    nn.init.zeros_(biases[0])
    nn.init.constant_(biases[1], -0.5)
    features = torch.ones(2, 32, 2, 2)
    features[0, :, 0, 0] = 5  # means 2 and 1; batch norms of variance 1 leave them
    # hard sigmoid (x + 3) / 6 of 2 - 0.5 and of 1 - 0.5
    expected = features * torch.tensor([4.5 / 6, 3.5 / 6])[:, None, None, None]
    torch.testing.assert_close(module(features), expected, rtol=1e-4, atol=1e-4)
