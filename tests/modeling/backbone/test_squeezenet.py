"""SqueezeNet against torchvision's, its maps, and priors on a map that leaves a border."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from ssd.config import load_config
from ssd.modeling import registry
from ssd.modeling.backbone.stages import feature_shapes
from ssd.modeling.backbone.squeezenet import PRETRAINED_URL, SqueezeNet
from ssd.modeling.detector.levels import build_levels
from ssd.utils.errors import CheckpointError, ConfigError


@torch.no_grad()
def test_the_first_map_from_a_file_of_torchvision_is_torchvisions(tmp_path: Path) -> None:
    reference = models.squeezenet1_1(weights=None)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    model = registry.BACKBONES["squeezenet1_1"](load_config(None), str(tmp_path / "weights.pth"))
    images = torch.randn(2, 3, 95, 127)  # of odd maps, whose poolings leave nothing over: 47, 23, 11, 5
    features = model.eval()(images)
    expected = reference.features.eval()[:12](images)
    assert features[0].shape == expected.shape == (2, 512, 5, 7)
    assert expected.std() > 1e-3
    torch.testing.assert_close(features[0], expected)
    torch.testing.assert_close(model.extras[0](reference.features(images)), features[1])


def test_published_weights_fill_all_but_the_extras(serve: Callable[[dict[str, Tensor]], list[str]]) -> None:
    weights = models.squeezenet1_1(weights=None).state_dict()
    asked = serve(weights)
    model = registry.BACKBONES["squeezenet1_1"](load_config(None), True)
    assert asked == [PRETRAINED_URL]
    loaded = {name: value for name, value in model.state_dict().items() if not name.startswith("extras.")}
    assert loaded.keys() == {name for name in weights if not name.startswith("classifier.")}
    assert all(torch.equal(value, weights[name]) for name, value in loaded.items())


def test_version_1_0_is_refused(serve: Callable[[dict[str, Tensor]], list[str]]) -> None:
    serve(models.squeezenet1_0(weights=None).state_dict())
    with pytest.raises(CheckpointError, match="does not fit"):
        registry.BACKBONES["squeezenet1_1"](load_config(None), True)


@pytest.mark.parametrize(
    ("image_size", "maps"),
    [
        ((300, 300), [(17, 17), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]),
        ((300, 480), [(17, 29), (10, 16), (5, 8), (3, 4), (2, 2), (1, 1)]),
        ((33, 65), [(1, 3), (2, 3), (1, 2), (1, 1), (1, 1), (1, 1)]),
    ],
)
def test_maps(image_size: tuple[int, int], maps: list[tuple[int, int]]) -> None:
    with torch.device("meta"):
        model = SqueezeNet()
    expected = [(channels, *cells) for channels, cells in zip((512, 512, 512, 256, 256, 256), maps, strict=True)]
    assert feature_shapes(model, image_size) == expected


def test_an_image_that_is_too_small() -> None:
    with pytest.raises(ConfigError, match="does not pass through the backbone"):
        feature_shapes(SqueezeNet(), (25, 25))


def test_strides_that_follow_may_leave_a_border() -> None:
    """17 cells of 16 pixels are 272 of 300, as in sq-ssd-lite of the qfgaohao port."""
    overrides = ["MODEL.PRIORS.ASPECT_RATIOS", [[2, 3]] * 6, "MODEL.BACKBONE.PRETRAINED", False]
    levels = build_levels(load_config(None, overrides), SqueezeNet())
    assert [stride for stride, _ in levels.strides] == [16, 32, 64, 100, 150, 300]


@torch.no_grad()
def test_no_map_fades() -> None:
    """Without batch norms, the initial weights alone keep the scale."""
    torch.manual_seed(0)
    features = SqueezeNet().eval()(torch.randn(4, 3, 300, 300))
    assert all(feature.std(dim=0).mean() > 0.05 for feature in features)


def test_every_parameter_learns() -> None:
    model = SqueezeNet().train()
    features = model(torch.randn(1, 3, 96, 128))
    assert features[-1].shape[2:] == (1, 1)
    sum(feature.square().sum() for feature in features).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@torch.no_grad()
def test_the_graph_exports() -> None:
    model, images = SqueezeNet().eval(), torch.randn(1, 3, 64, 64)
    exported: nn.Module = torch.export.export(model, (images,)).module()
    for ours, same in zip(exported(images), model(images), strict=True):
        torch.testing.assert_close(ours, same)
