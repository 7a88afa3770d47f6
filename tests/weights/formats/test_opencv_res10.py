"""OpenCV's face detector: a forward pass written from the names of its layers, in Caffe's order of channels.

The real file was compared with recordings of OpenCV on photographs (docs/interop.md).
"""

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ssd.utils.errors import CheckpointError
from tests.weights.formats import peers


def fill() -> dict[str, Tensor]:
    """Weights by name; statistics are three times those that they stand for, and blob 2 says so."""
    weights = peers.fill(peers.read_shapes("opencv-res10_face"))
    for name, value in weights.items():
        if "bn" in name and name.endswith(".1"):
            weights[name] = 3 + value  # variances
        elif "bn" in name and name.endswith(".2"):
            weights[name] = torch.tensor([3.0])
    return weights


class CaffeLayers:
    def __init__(self, weights: Mapping[str, Tensor]):
        self.weights = weights

    def conv(self, x: Tensor, name: str, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = self.weights[f"{name}.0"]
        return F.conv2d(x, weight, self.weights.get(f"{name}.1"), stride, weight.shape[2] // 2 * dilation, dilation)

    def norm(self, x: Tensor, stats: str, scale: str) -> Tensor:
        mean, variance = (self.weights[f"{stats}.{n}"] / self.weights[f"{stats}.2"] for n in (0, 1))
        return F.batch_norm(x, mean, variance, self.weights[f"{scale}.0"], self.weights[f"{scale}.1"], eps=1e-5)


def predict(weights: Mapping[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """Class logits (1, P, 2) and offsets (1, P, 4) of images in Caffe's order of channels."""
    net = CaffeLayers(weights)
    x = net.conv(net.norm(images, "data_bn", "data_scale"), "conv1_h", stride=2)
    x = F.max_pool2d(net.norm(x, "conv1_bn_h", "conv1_scale_h").relu(), 3, 2, ceil_mode=True)
    inner = net.norm(net.conv(x, "layer_64_1_conv1_h"), "layer_64_1_bn2_h", "layer_64_1_scale2_h").relu()
    x = x + net.conv(inner, "layer_64_1_conv2_h")
    maps = []
    # Width, stride and dilation; whether conv1, the norm behind it, conv2 and the shortcut have names with _h.
    for width, stride, dilation, first, conv1, norm, conv2, expand in (
        (128, 2, 1, "_h", "_h", "", "", "_h"), (256, 2, 1, "", "", "", "", ""), (512, 1, 2, "", "_h", "_h", "_h", "_h"),
    ):  # fmt: skip
        name = f"layer_{width}_1"
        x = net.norm(x, f"{name}_bn1{first}", f"{name}_scale1{first}").relu()
        if width == 256:
            maps.append(F.normalize(x, dim=1, eps=1e-10) * weights["conv4_3_norm.0"][:, None, None])
        inner = net.conv(x, f"{name}_conv1{conv1}", stride)
        inner = net.norm(inner, f"{name}_bn2{norm}", f"{name}_scale2{norm}").relu()
        inner = net.conv(inner, f"{name}_conv2{conv2}", dilation=dilation)
        x = inner + net.conv(x, f"{name}_conv_expand{expand}", stride)
    maps.append(net.norm(x, "last_bn_h", "last_scale_h").relu())
    for stage, stride in ((6, 2), (7, 2), (8, 1), (9, 1)):
        inner = net.conv(maps[-1], f"conv{stage}_1_h").relu()
        maps.append(net.conv(inner, f"conv{stage}_2_h", stride).relu())
    levels = ("conv4_3_norm", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2")
    outputs = []
    for kind, values in (("conf", 2), ("loc", 4)):
        found = [net.conv(features, f"{level}_mbox_{kind}") for features, level in zip(maps, levels, strict=True)]
        outputs.append(torch.cat([level.permute(0, 2, 3, 1).reshape(1, -1, values) for level in found], dim=1))
    return outputs[0], outputs[1]


def test_network_from_names() -> None:
    weights = fill()
    detector = peers.build(peers.convert(weights))
    assert detector.levels == [(38**2, 4), (19**2, 6), (100, 6), (25, 6), (25, 4), (25, 4)]
    images = torch.randn(1, 3, 300, 300, generator=torch.Generator().manual_seed(0))
    peers.check_predictions(detector, images.flip(1), predict(weights, images))
    priors = detector.model.box_head.priors
    assert priors[-1].tolist() == pytest.approx([4.5, 4.5, 264 / 2**0.5 / 300, 264 * 2**0.5 / 300])


def test_a_missing_norm_is_named() -> None:
    weights = fill()
    del weights["last_bn_h.2"]
    with pytest.raises(CheckpointError, match=r"last_bn_h\.2"):
        peers.convert(weights)
