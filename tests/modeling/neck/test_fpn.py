"""The neck by closed form, and behind every family of backbones."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from ssd.config import Config, load_config
from ssd.modeling.backbone import build_backbone
from ssd.modeling.neck import FPN, build_neck
from ssd.utils.errors import ConfigError

FPN_KEYS = ("MODEL.BACKBONE.PRETRAINED", False, "MODEL.NECK.NAME", "fpn", "INPUT.IMAGE_SIZE", 320)


@torch.no_grad()
def make_fpn(num_maps: int, *, is_light: bool, has_path_up: bool = False) -> FPN:
    """One channel; every convolution keeps its input: laterals add ten times their number."""
    fpn = FPN([1] * num_maps, range(num_maps), channels=1, is_light=is_light, has_path_up=has_path_up).eval()
    for module in fpn.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.zero_()
            module.weight[:, :, module.kernel_size[0] // 2, module.kernel_size[0] // 2] = 1
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-12  # PyTorch 2.11 refuses 0
    return fpn


def maps(*sides: tuple[int, int]) -> list[Tensor]:
    return [torch.rand(2, 1, *side) for side in sides]


@pytest.mark.parametrize("is_light", [True, False])
def test_context_of_coarser_maps(is_light: bool) -> None:
    fine, middle, coarse = maps((10, 12), (5, 6), (3, 3))  # 5 rows over 3: nearest
    levels = make_fpn(3, is_light=is_light)([fine, middle, coarse])
    second = middle + coarse[:, :, [0, 0, 1, 1, 2]][..., [0, 0, 1, 1, 2, 2]]
    first = fine + second.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = [first, second, coarse, coarse[:, :, ::2, ::2], coarse[:, :, :1, :1]]
    for level, values in zip(levels, expected, strict=True):
        torch.testing.assert_close(level, values)


def test_context_of_finer_maps() -> None:
    fine, coarse = maps((4, 6), (2, 3))
    levels = make_fpn(2, is_light=True, has_path_up=True)([fine, coarse])
    first = fine + coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    second = coarse + first[:, :, ::2, ::2]
    for level, values in zip(levels, [first, second, second[:, :, ::2, ::2], second[:, :, :1, :1]], strict=True):
        torch.testing.assert_close(level, values)


def build(*overrides: object) -> tuple[Config, nn.Sequential]:
    cfg = load_config(None, [*FPN_KEYS, *overrides])
    with torch.device("meta"):
        backbone = build_backbone(cfg, False)
        return cfg, nn.Sequential(backbone, build_neck(cfg, backbone))


BACKBONES = {
    **{"tiny": [64, 128, 128], "vgg": [512, 1024, 512], "vgg_bn_conv4_3": [512, 1024, 512]},
    **{"mobilenet_v1": [256, 512, 1024], "mobilenet_v1_separable": [256, 512, 1024]},
    **{name: [32, 96, 320] for name in ("mobilenet_v2", "mobilenet_v2_expansion", "mobilenet_v2_separable")},
    **{"mobilenet_v3": [40, 112, 160], "mobilenet_v3_ssdlite": [40, 112, 160]},
    **{"mobilenet_v3_ssdlite_reduced": [40, 112, 80], "mobilenet_v3_large_qfgaohao": [40, 160, 160]},
    **{"mobilenet_v3_small_qfgaohao": [24, 48, 96], "squeezenet1_1": [256, 512, 512]},
    **{"efficient_net-b0": [40, 112, 320], "efficient_net-b3": [48, 136, 384]},
    **{"resnet18": [128, 256, 512], "resnet50": [512, 1024, 2048], "resnet34_mlperf": [128, 256, 512]},
    **{"mobilenet_v1_chuanqi": [256, 512, 1024], "ultralight_slim": [64, 128, 256], "ultralight_rfb": [64, 128, 256]},
    **{"resnet10_preact": [128, 256, 256], "timm/resnet18": [128, 256, 512]},
}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone(name: str) -> None:
    """Five levels from stride 8; nothing is left that they do not use."""
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    size = (320, 256)
    _, network = build("MODEL.BACKBONE.NAME", name, "INPUT.IMAGE_SIZE", size, "MODEL.NECK.CHANNELS", 8)
    assert [lateral.in_channels for lateral in network[1].laterals] == BACKBONES[name]
    levels: Sequence[Tensor] = network.eval()(torch.zeros(1, 3, *size, device="meta"))
    expected = [(8, *(-(-side // stride) for side in size)) for stride in (8, 16, 32, 64, 128)]
    if name == "squeezenet1_1":  # pools that round down
        expected = [(8, 39, 31), (8, 19, 15), (8, 11, 9), (8, 6, 5), (8, 3, 3)]
    assert [tuple(level.shape[1:]) for level in levels] == expected
    torch.stack([level.sum() for level in levels]).sum().backward()
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == []


FINE = {"mobilenet_v2": 24, "mobilenet_v3": 24, "tiny": 32, "resnet18": 64}


@pytest.mark.parametrize("name", FINE)
def test_finer_level(name: str) -> None:
    keys = ("MODEL.BACKBONE.NAME", name, "MODEL.NECK.STRIDES", [4, 8, 16, 32], "MODEL.NECK.CHANNELS", 8)
    _, network = build(*keys)
    assert [lateral.in_channels for lateral in network[1].laterals] == [FINE[name], *BACKBONES[name]]
    levels: Sequence[Tensor] = network.eval()(torch.zeros(1, 3, 320, 320, device="meta"))
    assert [level.shape[-1] for level in levels] == [80, 40, 20, 10, 5, 3]
    torch.stack([level.sum() for level in levels]).sum().backward()
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == []


def test_strides_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match=r"MODEL\.NECK\.STRIDES is \[4, 8, 16, 32\]"):
        build("MODEL.BACKBONE.NAME", "efficient_net-b0", "MODEL.NECK.STRIDES", [4, 8, 16, 32])
    with pytest.raises(ConfigError, match=r"MODEL\.NECK\.STRIDES is \[16, 8\]"):
        build("MODEL.BACKBONE.NAME", "tiny", "MODEL.NECK.STRIDES", [16, 8])


def test_layers_of_ones_own() -> None:
    _, network = build("MODEL.BACKBONE.NAME", "mobilenet_v2", "MODEL.BACKBONE.OUT_INDICES", [3, 6, 13, 18])
    assert [lateral.in_channels for lateral in network[1].laterals] == [32, 96, 1280]
    with pytest.raises(ConfigError, match=r"MODEL\.NECK\.STRIDES is \[8, 16, 32\].* \[16, 32, 64"):
        build("MODEL.BACKBONE.NAME", "mobilenet_v2", "MODEL.BACKBONE.OUT_INDICES", [13, 18])
    with pytest.raises(ConfigError, match=r"MODEL\.NECK\.NAME"):
        build("MODEL.NECK.NAME", "bifpn")


@pytest.mark.parametrize(("name", "is_light", "convs"), [("fpn", True, 4), ("pan", True, 8), ("fpn", False, 4)])
def test_number_of_parameters(name: str, is_light: bool, convs: int) -> None:
    _, (_, neck) = build("MODEL.BACKBONE.NAME", "tiny", "MODEL.NECK.NAME", name, "MODEL.NECK.LIGHT", is_light)
    conv3x3 = (9 * 96 + 96 * 96 if is_light else 9 * 96 * 96) + 2 * 96  # and its batch norm
    assert sum(parameter.numel() for parameter in neck.parameters()) == (64 + 128 + 128 + 3) * 96 + convs * conv3x3


def test_resnet_is_the_published_one(tmp_path) -> None:
    """All its weights load, and its maps are those of torchvision."""
    published = resnet18(weights=None).eval()
    torch.save(published.state_dict(), tmp_path / "resnet18.pth")
    cfg = load_config(None, [*FPN_KEYS, "MODEL.BACKBONE.NAME", "resnet18"])
    backbone = build_backbone(cfg, str(tmp_path / "resnet18.pth")).eval()
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        coarsest = nn.Sequential(*list(published.children())[:-2])(images)
        found = backbone(images)
    assert torch.equal(found[-1], coarsest)
    assert [tuple(level.shape[2:]) for level in found] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert len(backbone.freezable_stages()) == 5
