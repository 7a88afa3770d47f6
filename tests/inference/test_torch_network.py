"""The quick copy of a model detects what the model detects."""

import pytest
import torch
from torch import Tensor, nn

from ssd.config import Config, load_config
from ssd.data import make_batch_transform
from ssd.inference.torch_network import TorchNetwork
from ssd.modeling.detector import build_detection_model
from ssd.structures import Container
from ssd.weights.precision import in_precision

SMALL = [
    *("MODEL.BACKBONE.NAME", "tiny", "MODEL.BACKBONE.PRETRAINED", False, "INPUT.IMAGE_SIZE", (64, 96)),
    *("MODEL.PRIORS.MIN_SIZES", [12, 28, 48, 70], "MODEL.PRIORS.MAX_SIZES", [28, 48, 70, 90]),
    *("MODEL.PRIORS.ASPECT_RATIOS", [[2], [2], [2], [2]], "MODEL.NUM_CLASSES", 5),
    *("TEST.CONFIDENCE_THRESHOLD", 0.0, "TEST.MAX_PER_IMAGE", 20),
]


@pytest.fixture
def cfg() -> Config:
    return load_config(None, SMALL)


@pytest.fixture
def model(cfg: Config) -> nn.Module:
    model = build_detection_model(cfg)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    for header in model.box_head.predictor.cls_headers:
        nn.init.normal_(header.weight, std=0.3)  # scores that differ by more than rounding
    return model


@pytest.fixture
def images() -> Tensor:
    return torch.randint(256, (3, 3, 64, 96), dtype=torch.uint8)


@torch.inference_mode()
def detect(model: nn.Module, cfg: Config, images: Tensor) -> list[Container]:
    return model.eval()(make_batch_transform(cfg, is_train=False)(images))


def test_it_detects_what_the_model_detects(cfg: Config, model: nn.Module, images: Tensor) -> None:
    model.train()
    network = TorchNetwork(model, make_batch_transform(cfg, is_train=False))
    assert model.training
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    found = network(images)
    for ours, expected in zip(found, detect(model, cfg, images), strict=True):
        assert (ours.img_height, ours.img_width) == (64, 96)
        assert ours["labels"].tolist() == expected["labels"].tolist()
        torch.testing.assert_close(ours["scores"], expected["scores"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours["boxes"], expected["boxes"], rtol=1e-4, atol=1e-2)


def test_a_batch_finds_what_its_images_find_alone(cfg: Config, model: nn.Module, images: Tensor) -> None:
    network = TorchNetwork(model, make_batch_transform(cfg, is_train=False))
    for together, image in zip(network(images), images, strict=True):
        (alone,) = network(image[None])
        assert together["labels"].tolist() == alone["labels"].tolist()
        torch.testing.assert_close(together["boxes"], alone["boxes"], rtol=1e-4, atol=1e-2)


def test_short_weights_change_nothing(cfg: Config, images: Tensor) -> None:
    """Without batch norms to fold, bfloat16 gives the same bits as converting the weights in every call."""
    model = build_detection_model(cfg).eval()
    for layer in list(model.backbone.modules()):
        for name, child in list(layer.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(layer, name, nn.Identity())
    short = in_precision(model, "cpu", torch.bfloat16)
    network = TorchNetwork(short, make_batch_transform(cfg, is_train=False))
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    for ours, expected in zip(network(images), detect(short, cfg, images), strict=True):
        for name in ("boxes", "labels", "scores"):
            assert torch.equal(ours[name], expected[name])


@pytest.mark.gpu
def test_on_a_gpu(cfg: Config, model: nn.Module, images: Tensor) -> None:
    expected = TorchNetwork(model, make_batch_transform(cfg, is_train=False))(images)
    network = TorchNetwork(model.cuda(), make_batch_transform(cfg, is_train=False))
    for ours, theirs in zip(network(images), expected, strict=True):
        assert not ours["boxes"].is_cuda
        torch.testing.assert_close(ours["scores"], theirs["scores"], rtol=1e-2, atol=1e-3)
