"""The detectors of qfgaohao/pytorch-ssd that have no recording: layer by layer, and by their listings."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ssd.modeling.backbone.pretrained import StateDict
from tests.weights.formats import peers

MB1, MB1_LITE, MB2_LITE = "qfgaohao_mb1-ssd_voc", "qfgaohao_mb1-ssd-lite_voc", "qfgaohao_mb2-ssd-lite_voc"
MB3_LARGE, MB3_SMALL = "qfgaohao_mb3-large-ssd-lite_voc", "qfgaohao_mb3-small-ssd-lite_voc"
SQ_LITE = "qfgaohao_sq-ssd-lite_voc"


@pytest.mark.parametrize("name", [MB1, MB1_LITE, MB2_LITE, MB3_LARGE, MB3_SMALL, SQ_LITE])
def test_parameters_and_priors_are_those_of_the_listing(name: str) -> None:
    peers.check_listing(peers.build_listed(name), name)


@torch.no_grad()
def test_mb1_lite() -> None:
    def layer(name: str, x: Tensor, stride: int) -> Tensor:
        x = norm_conv(weights, f"{name}.0", f"{name}.1", x, stride=stride).relu()
        return norm_conv(weights, f"{name}.3", f"{name}.4", x).relu() if f"{name}.3.weight" in weights else x

    weights, images = peers.fill(peers.read_shapes(MB1_LITE)), torch.randn(2, 3, 300, 300)
    x, features = images, []
    for index in range(14):
        x = layer(f"base_net.{index}", x, stride=2 if index in (0, 2, 4, 6, 12) else 1)
        if index in (11, 13):
            features.append(x)
    for index in range(4):
        x = extra_layer(weights, f"extras.{index}", x)
        features.append(x)
    check(weights, images, features)


@torch.no_grad()
def test_sq_lite() -> None:
    def fire(name: str, x: Tensor) -> Tensor:
        """SqueezeNet, Fig. 1."""
        x = conv(weights, f"{name}.squeeze", x).relu()
        return torch.cat([conv(weights, f"{name}.{part}", x).relu() for part in ("expand1x1", "expand3x3")], dim=1)

    weights, images = peers.fill(peers.read_shapes(SQ_LITE)), torch.randn(2, 3, 300, 300)
    x, features = conv(weights, "base_net.0", images, stride=2, padding=0).relu(), []
    for index in range(2, 13):
        x = F.max_pool2d(x, 3, stride=2) if index in (2, 5, 8) else fire(f"base_net.{index}", x)
        if index == 11:
            features.append(x)
    for index in range(5):
        x = extra_layer(weights, f"extras.{index}", x, padding=2 if index == 0 else 1)
        features.append(x)
    assert [feature.shape[2] for feature in features] == [17, 10, 5, 3, 2, 1]  # 6 priors a cell: the listing's 2568
    check(weights, images, features)


@torch.no_grad()
def test_mb3_small() -> None:
    """Its strides follow from its shortcuts and maps, the tapped block from that of Large, which is recorded."""
    weights, images = peers.fill(peers.read_shapes(MB3_SMALL)), torch.randn(2, 3, 300, 300)
    x, features = F.hardswish(norm_conv(weights, "base_net.0", "base_net.1", images, stride=2)), []
    for index in range(3, 14):
        x = mb3_block(weights, f"base_net.{index}", x, 1 + (index in (3, 4, 6, 11)), is_hard_swish=index >= 6)
        if index == 10:
            features.append(x)
    x = F.hardswish(norm_conv(weights, "base_net.14", "base_net.15", x))
    features.append(x)
    for index in range(4):
        x = mb3_block(weights, f"extras.{index}", x, 2, is_hard_swish=True)
        features.append(x)
    check(weights, images, features)


def mb3_block(weights: StateDict, name: str, features: Tensor, stride: int, *, is_hard_swish: bool) -> Tensor:
    """An inverted residual, whose squeeze and excitation is behind the projection."""
    activation = F.hardswish if is_hard_swish else F.relu
    x = activation(norm_conv(weights, f"{name}.conv1", f"{name}.bn1", features))
    x = activation(norm_conv(weights, f"{name}.conv2", f"{name}.bn2", x, stride=stride))
    x = norm_conv(weights, f"{name}.conv3", f"{name}.bn3", x)
    if f"{name}.se.se.1.weight" in weights:
        mean = x.mean(dim=(2, 3), keepdim=True)
        squeezed = F.relu(norm_conv(weights, f"{name}.se.se.1", f"{name}.se.se.2", mean))
        x = x * F.hardsigmoid(norm_conv(weights, f"{name}.se.se.4", f"{name}.se.se.5", squeezed))
    if stride == 2:
        return x
    if f"{name}.shortcut.0.weight" in weights:
        return x + norm_conv(weights, f"{name}.shortcut.0", f"{name}.shortcut.1", features)
    return x + features


def check(weights: StateDict, images: Tensor, features: list[Tensor]) -> None:
    """Compare our predictions with the headers of the file on these feature maps."""
    predictions = []
    for kind, num_values in (("classification", 21), ("regression", 4)):
        levels = [header(weights, f"{kind}_headers.{level}", x) for level, x in enumerate(features)]
        flat = [level.permute(0, 2, 3, 1).reshape(len(level), -1, num_values) for level in levels]
        predictions.append(torch.cat(flat, dim=1))  # (B, P, num_values)
    peers.check_predictions(peers.build(peers.convert(weights)), images, (predictions[0], predictions[1]))


def header(weights: StateDict, name: str, x: Tensor) -> Tensor:
    """A convolution, or a depthwise one with ReLU or with batch norm and ReLU6, and a pointwise one."""
    if f"{name}.weight" in weights:
        return conv(weights, name, x)
    if f"{name}.3.weight" in weights:
        return conv(weights, f"{name}.3", F.relu6(norm_conv(weights, f"{name}.0", f"{name}.1", x)))
    return conv(weights, f"{name}.2", conv(weights, f"{name}.0", x).relu())


def norm_conv(weights: StateDict, name: str, norm: str, x: Tensor, *, stride: int = 1) -> Tensor:
    statistics = [weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(conv(weights, name, x, stride=stride), *statistics, eps=1e-5)


def extra_layer(weights: StateDict, name: str, x: Tensor, *, padding: int | None = None) -> Tensor:
    """A pointwise convolution with ReLU, and a separable one of stride 2."""
    x = conv(weights, f"{name}.2.0", conv(weights, f"{name}.0", x).relu(), stride=2, padding=padding).relu()
    return conv(weights, f"{name}.2.2", x)


def conv(weights: StateDict, name: str, x: Tensor, *, stride: int = 1, padding: int | None = None) -> Tensor:
    """A convolution; one of one channel a filter is depthwise. None = the padding that keeps the size at stride 1."""
    weight = weights[f"{name}.weight"]
    padding = weight.shape[2] // 2 if padding is None else padding
    return F.conv2d(x, weight, weights.get(f"{name}.bias"), stride, padding, groups=x.shape[1] // weight.shape[1])
