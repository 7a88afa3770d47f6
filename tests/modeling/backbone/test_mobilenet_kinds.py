"""What holds for every kind of MobileNet: channels and sizes of maps, batches, gradients, folding and export."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from ssd.config import load_config
from ssd.inference.torch_network import fold_batch_norms
from ssd.modeling import registry
from ssd.modeling.backbone.shapes import feature_shapes

CHANNELS = {
    "mobilenet_v1": [512, 1024, 512, 256, 256, 256],
    "mobilenet_v1_separable": [512, 1024, 512, 256, 256, 256],
    "mobilenet_v2": [96, 1280, 512, 256, 256, 64],
    "mobilenet_v2_expansion": [576, 1280, 512, 256, 256, 64],
    "mobilenet_v2_separable": [96, 1280, 512, 256, 256, 128],
    "mobilenet_v3": [112, 960, 512, 256, 256, 64],
    "mobilenet_v3_ssdlite": [672, 960, 512, 256, 256, 128],
    "mobilenet_v3_ssdlite_reduced": [672, 480, 512, 256, 256, 128],
    "mobilenet_v3_large_qfgaohao": [112, 960, 512, 256, 256, 64],
    "mobilenet_v3_small_qfgaohao": [48, 576, 512, 256, 256, 64],
}
# The others are folded and exported with their configs.
SELDOM = [name for name in CHANNELS if name.startswith(("mobilenet_v2_", "mobilenet_v3_"))]


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


@torch.no_grad()
@pytest.mark.parametrize("name", CHANNELS)
def test_a_batch_gives_what_its_images_give(name: str) -> None:
    model = registry.BACKBONES[name](load_config(None), False).eval()
    images = torch.randn(2, 3, 64, 96)
    for level, feature in enumerate(model(images)):
        single = torch.cat([model(image[None])[level] for image in images])
        torch.testing.assert_close(feature, single)


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
@pytest.mark.parametrize("name", SELDOM)
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
            assert same.std() > 1e-2
            torch.testing.assert_close(feature, same, rtol=1e-4, atol=1e-4)
