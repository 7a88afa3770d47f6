"""The whole detector: every registered part, both modes, sizes, empty targets, batches against single images."""

import pytest
import torch
from torch import nn

from ssd.config import load_config
from ssd.modeling import registry
from ssd.modeling.detector import build_detection_model
from ssd.structures import Container
from ssd.utils.errors import ConfigError

SMALL = [
    *("MODEL.BACKBONE.NAME", "tiny", "MODEL.BACKBONE.PRETRAINED", False, "MODEL.NUM_CLASSES", 4),
    *("INPUT.IMAGE_SIZE", (96, 128), "MODEL.PRIORS.MIN_SIZES", [16, 32, 48, 64]),
    *("MODEL.PRIORS.MAX_SIZES", [32, 48, 64, 96], "MODEL.PRIORS.ASPECT_RATIOS", [[2], [2], [2], [2]]),
]


def targets(num_images: int) -> Container:
    """One object for every level (16 to 96 px); with several images, the first has none."""
    sides = torch.tensor([20.0, 36.0, 56.0, 80.0])
    corner = torch.stack([sides * 0 + 8, sides * 0 + 8, sides + 8, sides + 8], dim=1) / torch.tensor([128, 96, 128, 96])
    boxes = corner.repeat(num_images, 1, 1)
    labels = torch.tensor([[1, 3, 2, 1]]).repeat(num_images, 1)
    if num_images > 1:
        boxes[0], labels[0] = 0, 0
    return Container(boxes=boxes, labels=labels)


@pytest.mark.parametrize("predictor", ["SSDBoxPredictor", "SSDLiteBoxPredictor"])
@pytest.mark.parametrize("num_images", [1, 2])
def test_training_step(predictor: str, num_images: int) -> None:
    model = build_detection_model(load_config(None, [*SMALL, "MODEL.BOX_HEAD.PREDICTOR", predictor]))
    images = torch.randn(num_images, 3, 96, 128)
    losses = model(images, targets(num_images))
    assert list(losses) == ["reg_loss", "cls_loss"]
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_a_batch_without_any_object() -> None:
    model = build_detection_model(load_config(None, SMALL))
    nothing = Container(boxes=torch.zeros(2, 0, 4), labels=torch.zeros(2, 0, dtype=torch.int64))
    losses = model(torch.randn(2, 3, 96, 128), nothing)
    assert losses["reg_loss"] == 0
    assert 0 < losses["cls_loss"] < 100


@torch.no_grad()
def test_a_batch_gives_what_its_images_give() -> None:
    model = build_detection_model(load_config(None, SMALL)).eval()
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
        build_detection_model(load_config(None, [*SMALL, key, value]))


def test_a_third_party_backbone_in_lufficcs_style(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "BACKBONES", type(registry.BACKBONES)("backbone"))

    @registry.BACKBONES.register("one_level")
    def one_level(cfg: object, pretrained: bool = True) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 8, 3, stride=16, padding=1), nn.Unflatten(0, (1, -1)))

    layout = ["MODEL.PRIORS.MIN_SIZES", [30], "MODEL.PRIORS.MAX_SIZES", [60], "MODEL.PRIORS.ASPECT_RATIOS", [[2]]]
    model = build_detection_model(
        load_config(None, ["MODEL.BACKBONE.NAME", "one_level", "INPUT.IMAGE_SIZE", 64, *layout])
    )
    assert model.box_head.priors.shape == (4 * 4 * 4, 4)
    assert not [key for key in model.state_dict() if "priors" in key]
    assert model.eval()(torch.randn(1, 3, 64, 64))[0]["boxes"].shape[1] == 4
