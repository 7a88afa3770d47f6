"""Ultra-Light face detectors: a forward pass written from the names of their tensors, and the files in Caffe.

The real files were compared with recordings of ONNX Runtime on photographs (docs/interop.md).
"""

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ssd.config import parse_config
from ssd.utils.errors import CheckpointError
from ssd.weights.foreign import convert_foreign, levels_of
from ssd.weights.formats.reading import CheckpointContent, read_weights
from tests.weights.formats import peers
from tests.weights.formats.caffemodel import caffemodel

STRIDES = (1, 2, 1, 2, 1, 1, 1, 2, 1, 1, 2, 1)  # of layers 1 to 12


class Network:
    """The layers of a network in the order of execution, by their names there.

    ``folded`` collects the weight and bias of each convolution, with its batch norm folded into it.
    """

    def __init__(self, weights: Mapping[str, Tensor]):
        self.weights = weights
        self.folded: list[tuple[Tensor, Tensor]] = []

    def conv(self, x: Tensor, name: str, norm="", *, stride=1, dilation=1, relu=True) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        if norm:
            parts = ("weight", "running_mean", "bias", "running_var")
            scale, mean, shift, variance = (self.weights[f"{norm}.{part}"] for part in parts)
            scale = scale / (variance + 1e-5).sqrt()
            weight, bias = weight * scale[:, None, None, None], shift - mean * scale
        assert bias is not None
        self.folded.append((weight, bias))
        padding, groups = weight.shape[2] // 2 * dilation, x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, bias, stride, padding, dilation, groups)
        return x.relu() if relu else x

    def separable(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        x = self.conv(x, f"{name}.0", f"{name}.1", stride=stride)
        return self.conv(x, f"{name}.3", f"{name}.4")

    def field(self, x: Tensor, name: str) -> Tensor:
        """The receptive field block."""
        found = []
        for branch, (size, dilation) in enumerate(((3, 2), (3, 3), (4, 5))):
            part = x
            for place in range(size):
                unit, last = f"{name}.branch{branch}.{place}", place == size - 1
                options = {"dilation": dilation if last else 1, "relu": not last and place > 0}
                part = self.conv(part, f"{unit}.conv", f"{unit}.bn", **options)
            found.append(part)
        pairs = ((torch.cat(found, dim=1), "ConvLinear"), (x, "shortcut"))
        outputs = [self.conv(part, f"{name}.{unit}.conv", f"{name}.{unit}.bn", relu=False) for part, unit in pairs]
        return sum(outputs).relu()

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (1, P, 2) and offsets (1, P, 4)."""
        outputs: list[list[Tensor]] = [[], []]

        def predict_level(x: Tensor, level: int) -> None:
            for kind, (headers, values) in enumerate((("classification", 2), ("regression", 4))):
                name = f"{headers}_headers.{level}"
                inner, last = (self.conv(x, f"{name}.0"), f"{name}.2") if level < 3 else (x, name)
                predicted = self.conv(inner, last, relu=False)
                outputs[kind].append(predicted.permute(0, 2, 3, 1).reshape(1, -1, values))

        x = self.conv(images, "base_net.0.0", "base_net.0.1", stride=2)
        level = 0
        for number, stride in enumerate(STRIDES, start=1):
            is_field = f"base_net.{number}.ConvLinear.conv.weight" in self.weights
            x = self.field(x, f"base_net.{number}") if is_field else self.separable(x, f"base_net.{number}", stride)
            if number in (7, 10, 12):
                predict_level(x, level)
                level += 1
        x = self.conv(self.conv(x, "extras.0.0"), "extras.0.2.0", stride=2)
        predict_level(self.conv(x, "extras.0.2.2"), level)
        return torch.cat(outputs[0], dim=1), torch.cat(outputs[1], dim=1)


@pytest.mark.parametrize("network", ["slim", "rfb"])
def test_network_from_names_and_in_caffe(network: str, tmp_path) -> None:
    weights = peers.fill(peers.read_shapes(f"ultralight_{network}_320_face"))
    theirs = Network(weights)
    images = torch.randn(1, 3, 240, 320, generator=torch.Generator().manual_seed(0))
    expected = theirs.predict(images)
    detector = peers.build(peers.convert(weights))
    assert len(detector.model.box_head.priors) == 4420
    peers.check_predictions(detector, images, expected)

    blobs = {f"{245 + n}.{index}": value for n, pair in enumerate(theirs.folded) for index, value in enumerate(pair)}
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel(blobs))
    peers.check_predictions(peers.build(peers.convert(read_weights(str(path)).weights)), images, expected)
    with pytest.raises(CheckpointError, match=r"it has 2 convolutions.* 42 \(slim\) and 52 \(rfb\)"):
        convert_foreign(CheckpointContent("net", {name: blobs[name] for name in ("250.0", "250.1", "251.0")}, {}))


@pytest.mark.parametrize(
    ("file", "num_priors"), [("version-slim-640.pth", 17640), ("slim.pth", 4420), ("a/640/slim.pth", 4420)]
)
def test_the_name_of_the_file_says_its_size(file: str, num_priors: int) -> None:
    shapes = peers.read_shapes("ultralight_slim_320_face")
    loaded = convert_foreign(CheckpointContent(file, {name: torch.zeros(shape) for name, shape in shapes.items()}, {}))
    assert loaded.config is not None
    assert levels_of(parse_config(loaded.config, file)).num_priors == num_priors
    assert loaded.class_names == ("__background__", "face")


def test_priors_are_squares_on_equal_shares() -> None:
    priors = peers.priors_of("interop/ultralight_rfb_320_face")
    assert priors[0].tolist() == pytest.approx([0.5 / 40, 0.5 / 30, 10 / 320, 10 / 240])
    # 240 pixels at stride 64 are 4 cells of 60.
    assert priors[-1].tolist() == pytest.approx([4.5 / 5, 3.5 / 4, 256 / 320, 1])  # clipped
