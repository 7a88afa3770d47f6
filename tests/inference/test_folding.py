"""Batch norms in convolutions: by hand, where it must not happen, and for every shipped config."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssd.inference.folding import fold_batch_norms
from ssd.modeling.backbone.efficient_net import SamePaddingConv2d
from ssd.modeling.detector import build_detection_model
from ssd.weights.precision import in_precision
from tests.shipped_configs import CONFIGS, load_shipped

# One of each family in the default run: attributes in a row, blocks with skips, headers, padding of its own, timm's.
FAST = {
    *("quickstart", "resnet18_ssd300_voc0712", "mobilenet_v2_ssd320_voc0712", "mobilenet_v3_ssd320_voc0712"),
    *("efficient_net_b0_ssd300_coco2017", "timm_regnety_016_ssd300_voc0712"),
}


def conv(in_channels: int = 3, out_channels: int = 4, **kwargs: object) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, **kwargs)  # type: ignore[arg-type]


def with_statistics(model: nn.Module) -> nn.Module:
    """In training mode, batch norms as a training leaves them."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_var is not None:
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            if layer.affine:
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.normal_(layer.bias, std=0.3)
    return model


def count_norms(model: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())


def test_by_hand() -> None:
    norm = nn.BatchNorm2d(1, eps=0.25)
    model = nn.Sequential(nn.Conv2d(1, 1, kernel_size=1), norm)
    values = {model[0].weight: 2.0, model[0].bias: 1.0, norm.weight: 3.0, norm.bias: 5.0}
    for parameter, value in values.items():
        nn.init.constant_(parameter, value)
    nn.init.constant_(norm.running_mean, 2.0)
    nn.init.constant_(norm.running_var, 3.75)  # with eps a standard deviation of 2
    folded = fold_batch_norms(model)
    # (2 x + 1 - 2) / 2 * 3 + 5 = 3 x + 3.5
    assert folded[0].weight.item() == pytest.approx(3.0)
    assert folded[0].bias.item() == pytest.approx(3.5)
    assert isinstance(folded[1], nn.Identity)


def test_the_model_is_not_changed() -> None:
    model = with_statistics(nn.Sequential(conv(bias=False), nn.BatchNorm2d(4))).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fold_batch_norms(model)
    assert (model.training, folded.training) == (True, False)
    assert count_norms(model) == 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Net(nn.Module):
    """Two convolutions, two batch norms, and a forward pass that a test chooses."""

    def __init__(self, forward: Callable[["Net", Tensor], Tensor], convolution: type[nn.Conv2d] = nn.Conv2d):
        super().__init__()
        self.conv_1 = convolution(3, 3, kernel_size=3, padding=1)
        self.conv_2 = convolution(3, 3, kernel_size=3, padding=1)
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
    if x.sum() > 1e9:  # no trace goes through here
        return x
    return net.block(net.norm_1(net.conv_1(x)))


@pytest.mark.parametrize(
    ("build", "num_left"),
    [
        (
            lambda: Net(lambda net, x: net.norm_2(net.conv_2(net.norm_1(net.conv_1(x)).relu()))),
            1,
        ),  # and the unused block
        (lambda: Net(lambda net, x: net.norm_1(F.relu(net.conv_1(x)))), 3),
        (lambda: Net(lambda net, x: net.norm_1(y := net.conv_1(x)) + y), 3),
        (lambda: Net(lambda net, x: net.norm_1(net.conv_1(x)) + net.norm_2(net.conv_1(x))), 3),
        (lambda: Net(lambda net, x: net.norm_1(net.conv_1(x)) + net.norm_1(net.conv_2(x))), 3),
        (lambda: Net(branch), 2),
        (lambda: Net(lambda net, x: net.norm_1(net.conv_1(x)), Standardised), 3),
        (lambda: Net(lambda net, x: net.norm_1(net.conv_1(x)), SamePaddingConv2d), 2),
        (lambda: nn.Sequential(conv(), nn.BatchNorm2d(4, track_running_stats=False)), 1),
        (lambda: nn.Sequential(conv(), nn.BatchNorm2d(4, affine=False)), 0),
        (lambda: nn.Sequential(conv(), nn.Dropout(), nn.BatchNorm2d(4)), 1),
        (lambda: nn.Sequential(nn.BatchNorm2d(3), conv()), 1),
    ],
    ids=[
        *("row", "activation-between", "second-user", "conv-twice", "norm-twice", "untraceable", "unknown-convolution"),
        *("same-padding", "no-statistics", "no-affine", "dropout-between", "norm-first"),
    ],
)
def test_only_what_may_be_folded_is(build: Callable[[], nn.Module], num_left: int) -> None:
    model = with_statistics(build()).eval()
    folded = fold_batch_norms(model)
    assert count_norms(folded) == num_left
    images = torch.randn(2, 3, 8, 9)
    with torch.no_grad():
        torch.testing.assert_close(folded(images), model(images), rtol=1e-4, atol=1e-5)


class Heads(nn.Module):
    """Shares one convolution between levels, each with a batch norm of its own; cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        shared = conv(3, 3)
        self.levels = nn.ModuleList([nn.Sequential(shared, nn.BatchNorm2d(3)) for _ in range(2)])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [level(feature) for level, feature in zip(self.levels, features, strict=True)]


def test_a_shared_convolution_is_left_alone() -> None:
    model = with_statistics(Heads()).eval()
    folded = fold_batch_norms(model)
    assert count_norms(folded) == 2
    features = [torch.randn(1, 3, 4, 4), torch.randn(1, 3, 2, 2)]
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(folded(features), model(features), strict=True))


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem in FAST else pytest.mark.slow, id=path.stem) for path in CONFIGS],
)
def test_every_config_predicts_the_same_without_batch_norms(path: Path) -> None:
    cfg = load_shipped(path)
    model = with_statistics(build_detection_model(cfg)).eval()
    folded = fold_batch_norms(model)
    assert count_norms(folded) == 0
    size = cfg.INPUT.IMAGE_SIZE
    images = torch.randn(1, 3, *(size if isinstance(size, tuple) else (size, size)))
    with torch.inference_mode():
        predictions, expected = (net.box_head.predictor(net.backbone(images)) for net in (folded, model))
    for prediction, value in zip(predictions, expected, strict=True):
        torch.testing.assert_close(prediction, value, rtol=0, atol=1e-4 * value.abs().max().item())


def test_a_model_in_bfloat16_is_looked_into() -> None:
    """``InPrecision`` takes any arguments, which stops the trace there."""

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Sequential(conv(), nn.BatchNorm2d(4))
            self.box_head = nn.Identity()

        def forward(self, images: Tensor) -> Tensor:
            return self.box_head(self.backbone(images))

    assert count_norms(fold_batch_norms(in_precision(Detector(), "cpu", torch.bfloat16))) == 0
