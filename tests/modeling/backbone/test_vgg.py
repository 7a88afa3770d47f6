"""VGG16 of SSD from a VGG16 of torchvision: the same convolutions, and fc6 and fc7 subsampled."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.vgg import cfgs, make_layers

from ssd.config import load_config
from ssd.modeling import registry
from ssd.modeling.backbone.vgg import VGG, reduce_vgg16
from ssd.utils.errors import CheckpointError

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def ramp(*shape: int) -> Tensor:
    """Element (i, j) is i + j; a view of few values, so that files of it are small."""
    return torch.arange(sum(shape)).float().as_strided(shape, (1,) * len(shape))


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """A state dict with the names and shapes of torchvision's VGG16."""
    torch.manual_seed(0)
    features = {f"features.{name}": value for name, value in make_layers(cfgs["D"]).state_dict().items()}
    shapes = {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}
    for index, shape in shapes.items():
        features |= {f"classifier.{index}.weight": ramp(*shape), f"classifier.{index}.bias": ramp(shape[0])}
    return features


def vector(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None]


@torch.no_grad()
@pytest.mark.parametrize(
    ("pixel_mean", "pixel_std", "border"), [(MEAN, STD, 0), ([123, 117, 104], [1, 1, 1], 5), ([0, 0, 0], [255] * 3, 5)]
)
def test_conv3_is_torchvisions_under_any_normalisation(published, pixel_mean, pixel_std, border) -> None:
    reference = make_layers(cfgs["D"])
    reference.load_state_dict({k.removeprefix("features."): v for k, v in published.items() if "features" in k})
    ours = VGG((300, 300)).vgg
    reduced = reduce_vgg16(published, pixel_mean=pixel_mean, pixel_std=pixel_std)
    ours.load_state_dict({name: value for name, value in reduced.items() if "classifier" not in name})

    pixels = torch.rand(1, 3, 64, 96) * 255
    expected = reference[:16]((pixels - vector(MEAN)) / vector(STD))
    result = (pixels - vector(pixel_mean)) / vector(pixel_std)
    for layer in ours[:16]:
        result = layer(result)
    # Zeros pad the image: other colours under another normalisation, as far as conv1_1 to conv3_3 see.
    inner = (..., slice(border, 16 - border), slice(border, 24 - border))
    torch.testing.assert_close(result[inner], expected[inner], rtol=1e-4, atol=1e-4 * float(expected.std()))


def test_fc6_and_fc7_keep_every_fourth_channel_and_every_third_position(published) -> None:
    reduced = reduce_vgg16(published, pixel_mean=MEAN, pixel_std=STD)
    fc6, fc7 = reduced["31.weight"], reduced["33.weight"]
    assert (fc6.shape, fc7.shape) == ((1024, 512, 3, 3), (1024, 1024, 1, 1))
    # Row 4k, column channel * 49 + 3y * 7 + 3x of the matrix whose element (i, j) is i + j.
    assert fc6[5, 7, 1, 2] == 4 * 5 + 7 * 49 + 3 * 7 + 6
    assert fc7[5, 7, 0, 0] == 4 * 5 + 4 * 7
    assert reduced["31.bias"][5] == reduced["33.bias"][5] == 4 * 5


@torch.no_grad()
def test_fc6_reads_the_positions_that_the_fully_connected_layer_read() -> None:
    """pool5 no longer halves, so the 7x7 positions of fc6 lie 2 apart, and the 3x3 that are left lie 6 apart."""
    fc6 = torch.randn(4096, 512 * 49)
    names = {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(64)}
    names |= {"classifier.0.weight": fc6, "classifier.0.bias": torch.zeros(4096)}
    names |= {"classifier.3.weight": torch.zeros(4096, 4096), "classifier.3.bias": torch.zeros(4096)}
    layer = VGG((300, 300)).vgg[31]
    layer.weight.copy_(reduce_vgg16(names, pixel_mean=MEAN, pixel_std=STD)["31.weight"])
    layer.bias.zero_()
    conv5 = torch.zeros(1, 512, 19, 19)
    conv5[0, :, 3::6, 3::6] = torch.randn(512, 3, 3)  # seen from the centre, the positions that are kept
    whole = F.conv2d(conv5, fc6[::4].unflatten(1, (512, 7, 7)), dilation=2, padding=6)
    torch.testing.assert_close(layer(conv5)[..., 9, 9], whole[..., 9, 9], rtol=1e-4, atol=1e-3)


def test_a_file_of_torchvision_loads(published, tmp_path) -> None:
    torch.save(published, tmp_path / "vgg16.pth")
    model = registry.BACKBONES["vgg"](load_config(None), str(tmp_path / "vgg16.pth"))
    assert torch.equal(model.vgg[28].weight, published["features.28.weight"])
    assert torch.equal(model.vgg[33].bias, ramp(4096)[::4])
    first = published["features.0.weight"] / vector(STD)  # PIXEL_STD is [1, 1, 1] by default
    torch.testing.assert_close(model.vgg[0].weight, first)


def test_a_reduced_file_loads_as_it_is(tmp_path) -> None:
    weights = {name: torch.rand(1).expand(value.shape) for name, value in VGG((300, 300)).vgg.state_dict().items()}
    torch.save(weights, tmp_path / "reduced.pth")
    model = registry.BACKBONES["vgg"](load_config(None), str(tmp_path / "reduced.pth"))
    assert all(torch.equal(value, weights[name]) for name, value in model.vgg.state_dict().items())
    del weights["33.bias"]
    torch.save(weights, tmp_path / "reduced.pth")
    with pytest.raises(CheckpointError, match=r"33\.bias"):
        registry.BACKBONES["vgg"](load_config(None), str(tmp_path / "reduced.pth"))
