"""The whole detector: a batch against its images, and parts by their names."""

import pytest
import torch
from torch import nn

from ssd.config import load_config
from ssd.modeling import registry
from ssd.modeling.detector import build_detection_model
from ssd.utils.errors import ConfigError
from tests.tiny import tiny_detector


@torch.no_grad()
def test_a_batch_gives_what_its_images_give() -> None:
    model = tiny_detector("INPUT.IMAGE_SIZE", (96, 128)).eval()
    images = torch.randn(3, 3, 96, 128)
    for image, expected in zip(images, model(images), strict=True):
        (alone,) = model(image[None])
        torch.testing.assert_close(alone["boxes"], expected["boxes"], rtol=1e-4, atol=1e-3)
        assert torch.equal(alone["labels"], expected["labels"])
        assert (alone.img_width, alone.img_height) == (128, 96)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.BACKBONE.NAME", "vgg16", r"unknown backbone 'vgg16': did you mean 'vgg'\?"),
        ("MODEL.BOX_HEAD.PREDICTOR", "SSDBoxPredictr", r"unknown box predictor .*did you mean 'SSDBoxPredictor'\?"),
        ("MODEL.BOX_HEAD.NAME", "RetinaHead", r"unknown box head 'RetinaHead'"),
        ("MODEL.META_ARCHITECTURE", "SSD", r"unknown meta architecture 'SSD'"),
        ("MODEL.BACKBONE.PRETRAINED", True, r"backbone 'tiny' has no ImageNet weights"),
    ],
)
def test_unknown_parts_are_named(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_detector(key, value)


def test_a_third_party_backbone_in_lufficcs_style(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "BACKBONES", type(registry.BACKBONES)("backbone"))

    @registry.BACKBONES.register("one_level")
    def one_level(cfg: object, pretrained: bool = True) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 8, 3, stride=16, padding=1), nn.Unflatten(0, (1, -1)))

    layout = ["MODEL.PRIORS.MIN_SIZES", [30], "MODEL.PRIORS.MAX_SIZES", [60], "MODEL.PRIORS.ASPECT_RATIOS", [[2]]]
    cfg = load_config(None, ["MODEL.BACKBONE.NAME", "one_level", "INPUT.IMAGE_SIZE", 64, *layout])
    model = build_detection_model(cfg)
    assert model.box_head.priors.shape == (4 * 4 * 4, 4)
    assert not [key for key in model.state_dict() if "priors" in key]
    assert model.eval()(torch.randn(1, 3, 64, 64))[0]["boxes"].shape[1] == 4
