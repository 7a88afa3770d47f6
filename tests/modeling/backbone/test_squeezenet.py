"""SqueezeNet against torchvision's, its maps, and priors on a map that leaves a border."""

import pytest
import torch
from torchvision import models

from ssd.config import load_config
from ssd.modeling import registry
from ssd.modeling.backbone.squeezenet import SqueezeNet
from ssd.modeling.backbone.stages import feature_shapes
from ssd.modeling.detector.levels import build_levels
from ssd.utils.errors import ConfigError


@torch.no_grad()
def test_the_first_map_from_a_file_of_torchvision_is_torchvisions(tmp_path) -> None:
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


def test_an_image_that_is_too_small() -> None:
    with pytest.raises(ConfigError, match=r"IMAGE_SIZE \(25, 25\)"):
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
