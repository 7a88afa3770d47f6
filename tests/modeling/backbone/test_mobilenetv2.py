"""Maps from within blocks, and separable extra layers; test_goldens.py holds MobileNetV2 to lufficc/SSD."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

from ssd.modeling.backbone.mobilenetv2 import InvertedResidual, MobileNetV2
from tests.modeling.backbone.outputs import watch


def test_the_parts_of_a_block_are_the_block() -> None:
    features = torch.randn(2, 16, 9, 7)
    for block in (
        InvertedResidual(16, 16, stride=1, expansion=6),
        InvertedResidual(16, 24, stride=2, expansion=6),
        InvertedResidual(16, 16, stride=1, expansion=1),
    ):
        block.eval()
        expansion = block.expand(features)
        assert torch.equal(block.reduce(expansion, features), block(features))
        assert expansion is features or (expansion.shape == (2, 96, 9, 7) and expansion.min() == 0)


@torch.no_grad()
def test_a_map_from_within_a_block_is_torchvisions(randomise: Callable[[nn.Module], None]) -> None:
    reference = models.mobilenet_v2(weights=None).features.double().eval()
    randomise(reference)
    expected = watch({index: reference[index].conv[0] for index in (7, 14)})
    model = MobileNetV2([1, 7, 14, 18], in_expansions=True).double().eval()
    model.features.load_state_dict(reference.state_dict())

    images = torch.randn(2, 3, 96, 65, dtype=torch.float64)
    last = reference(images)
    features = model(images)
    assert [feature.shape[1] for feature in features[:4]] == [32, 192, 576, 1280]
    torch.testing.assert_close(features[0], reference[0](images))  # block 1 does not expand
    for ours, theirs in zip(features[1:4], (expected[7], expected[14], last), strict=True):
        assert theirs.std() > 1e-3
        torch.testing.assert_close(ours, theirs)


def test_the_layers_are_those_without_a_map_from_within() -> None:
    """So weights of the one load into the other."""
    torch.manual_seed(3)
    expanded = MobileNetV2([14, 18], in_expansions=True).eval()
    torch.manual_seed(3)
    plain = MobileNetV2([14, 18]).eval()
    images = torch.randn(1, 3, 64, 64)
    for index, (ours, theirs) in enumerate(zip(expanded(images), plain(images), strict=True)):
        assert torch.equal(ours, theirs) == (index > 0)
    for (name, value), (same, other) in zip(expanded.state_dict().items(), plain.state_dict().items(), strict=True):
        assert name == same
        assert torch.equal(value, other)


def test_separable_extra_layers_step_by_step() -> None:
    backbone = MobileNetV2(separable=True).eval()
    with torch.no_grad():
        *_, before, features = backbone(torch.randn(1, 3, 256, 256))
        x = before
        for (conv, norm, _), stride, groups in zip(backbone.extras[3], (1, 2, 1), (1, 64, 1), strict=True):
            assert conv.bias is None
            x = F.conv2d(x, conv.weight, stride=stride, padding=conv.weight.shape[2] // 2, groups=groups)
            x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5).clamp(0, 6)
    torch.testing.assert_close(features, x)
