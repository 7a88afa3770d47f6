from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssd.config import Config
from ssd.data import make_batch_transform
from ssd.inference.torch_network import TorchNetwork, fold_batch_norms
from ssd.modeling.detector import SSDDetector, build_detection_model
from ssd.modeling.layers import SamePaddingConv2d
from tests.deploy.detectors import detect, make_small_config
from tests.shipped_configs import CONFIGS, load_shipped

# One of each family in the default run: attributes in a row, blocks with skips, headers, own padding, timm's.
FAST = {
    *("quickstart", "resnet18_ssd300_voc0712", "mobilenet_v2_ssd320_voc0712", "mobilenet_v3_ssd320_voc0712"),
    *("efficient_net_b0_ssd300_coco2017", "timm_regnety_016_ssd300_voc0712"),
}


def with_statistics(model: nn.Module) -> nn.Module:
    """Set batch norms as a training leaves them."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_var is not None:
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            if layer.affine:
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.normal_(layer.bias, std=0.3)
    return model


@pytest.fixture
def cfg() -> Config:
    return make_small_config("TEST.CONFIDENCE_THRESHOLD", 0.0, "TEST.MAX_PER_IMAGE", 20)


@pytest.fixture
def model(cfg: Config) -> SSDDetector:
    model = build_detection_model(cfg)
    for header in model.box_head.predictor.cls_headers:
        nn.init.normal_(header.weight, std=0.3)  # scores that differ by more than rounding
    return with_statistics(model)


@pytest.fixture
def images() -> Tensor:
    return torch.randint(256, (3, 3, 96, 128), dtype=torch.uint8)


def test_detections_of_batches_and_single_images(cfg: Config, model: SSDDetector, images: Tensor) -> None:
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    network = TorchNetwork(model, make_batch_transform(cfg, is_train=False))
    assert (model.training, network.network.training) == (True, False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert count_norms(network.network) == 0
    alone = [found for image in images for found in network(image[None])]
    for expected, *others in zip(detect(cfg, model, images), network(images), alone, strict=True):
        for found in others:
            assert (found.img_height, found.img_width) == (96, 128)
            assert found["labels"].tolist() == expected["labels"].tolist()
            torch.testing.assert_close(found["scores"], expected["scores"], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found["boxes"], expected["boxes"], rtol=1e-4, atol=1e-2)


def test_weights_in_bfloat16_give_the_results_of_autocast(cfg: Config, images: Tensor) -> None:
    """To the bit, in the same memory format and without batch norms to fold."""
    model = build_detection_model(cfg).eval().to(memory_format=torch.channels_last)
    for layer in list(model.backbone.modules()):
        for name, child in list(layer.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(layer, name, nn.Identity())
    network = TorchNetwork(model, make_batch_transform(cfg, is_train=False), torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.bfloat16 in {parameter.dtype for parameter in network.network.parameters()}
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = model.predict(make_batch_transform(cfg, is_train=False)(images))
    assert all(map(torch.equal, network.predict(images), expected))


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True, "reduce-overhead"])
def test_on_a_gpu(cfg: Config, model: SSDDetector, images: Tensor, compiled: bool | str) -> None:
    expected = TorchNetwork(model, make_batch_transform(cfg, is_train=False))(images)
    network = TorchNetwork(model.cuda(), make_batch_transform(cfg, is_train=False), compiled=compiled)
    network(images.flip(0))
    for ours, theirs in zip(network(images), expected, strict=True):
        assert not ours["boxes"].is_cuda
        torch.testing.assert_close(ours["scores"], theirs["scores"], rtol=1e-2, atol=1e-3)


def conv(in_channels: int = 3, out_channels: int = 4, **kwargs: object) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, **kwargs)  # type: ignore[arg-type]


def count_norms(model: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())


def test_folding_by_hand() -> None:
    norm = nn.BatchNorm2d(1, eps=0.25)
    model = nn.Sequential(nn.Conv2d(1, 1, kernel_size=1), norm)
    values = {model[0].weight: 2.0, model[0].bias: 1.0, norm.weight: 3.0, norm.bias: 5.0}
    values |= {norm.running_mean: 2.0, norm.running_var: 3.75}  # with eps a standard deviation of 2
    for tensor, value in values.items():
        nn.init.constant_(tensor, value)
    folded = fold_batch_norms(model)
    # (2 x + 1 - 2) / 2 * 3 + 5 = 3 x + 3.5
    assert (folded[0].weight.item(), folded[0].bias.item()) == pytest.approx((3.0, 3.5))
    assert isinstance(folded[1], nn.Identity)


class Net(nn.Module):
    def __init__(self, forward: Callable[["Net", Tensor], Tensor], convolution: type[nn.Conv2d] = nn.Conv2d):
        super().__init__()
        self.conv_1, self.conv_2 = (convolution(3, 3, kernel_size=3, padding=1) for _ in range(2))
        self.norm_1, self.norm_2 = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.block = nn.Sequential(conv(3, 3), nn.BatchNorm2d(3))
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


class Standardised(nn.Conv2d):
    """Computes with its weight before it convolves."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight / self.weight.norm(), self.bias, padding=1)


def branch(net: Net, x: Tensor) -> Tensor:
    if x.sum() > 1e9:  # cannot be traced
        return x
    return net.block(net.norm_1(net.conv_1(x)))


class Heads(nn.Module):
    """Shares one convolution between levels with their own batch norms; cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        shared = conv(3, 3)
        self.levels = nn.ModuleList([nn.Sequential(shared, nn.BatchNorm2d(3)) for _ in range(2)])

    def forward(self, image: Tensor) -> Tensor:
        return sum(level(image) for level in self.levels if image.sum() < 1e9)


@pytest.mark.parametrize(
    ("build", "num_left"),
    [
        (lambda: Net(lambda net, x: net.norm_2(net.conv_2(net.norm_1(net.conv_1(x)).relu()))), 1),  # the unused block
        (lambda: Net(lambda net, x: net.norm_1(F.relu(net.conv_1(x)))), 3),
        (lambda: Net(lambda net, x: net.norm_1(y := net.conv_1(x)) + y), 3),
        (lambda: Net(lambda net, x: net.norm_1(net.conv_1(x)) + net.norm_2(net.conv_1(x))), 3),
        (lambda: Net(lambda net, x: net.norm_1(net.conv_1(x)) + net.norm_1(net.conv_2(x))), 3),
        (lambda: Net(branch), 2),
        (lambda: Net(lambda net, x: net.norm_1(net.conv_1(x)), Standardised), 3),
        (lambda: Net(lambda net, x: net.norm_1(net.conv_1(x)), SamePaddingConv2d), 2),
        (lambda: nn.Sequential(conv(), nn.BatchNorm2d(4, track_running_stats=False)), 1),
        (lambda: nn.Sequential(conv(), nn.BatchNorm2d(4, eps=0.25, affine=False)), 0),
        (lambda: nn.Sequential(conv(), nn.Dropout(), nn.BatchNorm2d(4)), 1),
        (lambda: nn.Sequential(nn.BatchNorm2d(3), conv()), 1),
        (Heads, 2),
    ],
    ids=[
        *("row", "activation-between", "second-user", "conv-twice", "norm-twice", "untraceable", "unknown-convolution"),
        *("same-padding", "no-statistics", "no-affine", "dropout-between", "norm-first", "shared"),
    ],
)
def test_only_exact_folds(build: Callable[[], nn.Module], num_left: int) -> None:
    model = with_statistics(build()).eval()
    folded = fold_batch_norms(model)
    assert count_norms(folded) == num_left
    images = torch.randn(2, 3, 8, 9)
    with torch.no_grad():
        torch.testing.assert_close(folded(images), model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=[] if path.stem in FAST else pytest.mark.slow, id=path.stem) for path in CONFIGS]
)
def test_every_config_predicts_the_same_without_batch_norms(path: Path) -> None:
    cfg = load_shipped(path)
    model = with_statistics(build_detection_model(cfg)).eval()
    folded = fold_batch_norms(model)
    assert count_norms(folded) == 0
    size = cfg.INPUT.IMAGE_SIZE
    images = torch.randn(1, 3, *(size if isinstance(size, tuple) else (size, size)))
    with torch.inference_mode():
        predictions, expected = (net.predict(images) for net in (folded, model))
    for prediction, value in zip(predictions, expected, strict=True):
        torch.testing.assert_close(prediction, value, rtol=0, atol=1e-4 * value.abs().max().item())
