"""timm's networks as backbones: maps, weights by name, mistakes; skipped where timm is not installed, but for one."""

import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from yacs.config import CfgNode

from ssd.config import load_config
from ssd.modeling import registry
from ssd.modeling.backbone.stages import feature_shapes
from ssd.modeling.backbone.timm_adapter import TimmBackbone
from ssd.utils.errors import CheckpointError, ConfigError, DownloadError, MissingPackageError
from tests.modeling.backbone.outputs import randomise, squares


@pytest.fixture
def timm() -> Any:
    return pytest.importorskip("timm")


def config(name: str, image_size: object = 300, *overrides: object) -> CfgNode:
    names = ["MODEL.BACKBONE.NAME", name, "MODEL.BACKBONE.PRETRAINED", False, "INPUT.IMAGE_SIZE", image_size]
    return load_config(None, [*names, *overrides])


def build(name: str, image_size: object = 300, pretrained: bool | str = False) -> TimmBackbone:
    return registry.BACKBONES[name](config(name, image_size), pretrained)


@pytest.mark.parametrize(
    ("name", "image_size", "channels", "maps"),
    [
        ("resnet10t", (300, 300), [128, 256, 512, 512, 256, 256], squares(38, 19, 10, 5, 3, 1)),
        # Rounds down where ResNet rounds up, to the same number of levels.
        ("convnext_atto", (300, 300), [80, 160, 320, 512, 256, 256], squares(37, 18, 9, 5, 3, 1)),
        ("mobilenetv3_small_050", (512, 512), [16, 24, 288, 512, 256, 256, 256], squares(64, 32, 16, 8, 4, 2, 1)),
        # The shorter side ends at one cell.
        ("resnet10t", (96, 200), [128, 256, 512, 512], [(12, 25), (6, 13), (3, 7), (1, 5)]),
        ("resnet10t", (32, 32), [128, 256, 512], squares(4, 2, 1)),
        # Its size must be known when it is built, and its maps come with channels last.
        (
            "swin_tiny_patch4_window7_224",
            (160, 224),
            [192, 384, 768, 512, 256],
            [(20, 28), (10, 14), (5, 7), (3, 4), (1, 2)],
        ),
    ],
)
def test_maps(timm, name, image_size, channels, maps) -> None:
    expected = [(c, *cells) for c, cells in zip(channels, maps, strict=True)]
    assert feature_shapes(build(f"timm/{name}", image_size), image_size) == expected


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "mobilenetv3_small_050", "visformer_tiny"])
def test_weights_of_the_whole_network_give_its_features(timm, name, tmp_path) -> None:
    """Against timm's other way to features, by the whole network. Each wraps its feature network in its own way."""
    size = {"img_size": (96, 96)} if name == "visformer_tiny" else {}
    try:
        timm.create_model(name, features_only=True, **size)
    except RuntimeError as error:  # "not implemented": 1.0.27 still says so of visformer_tiny
        pytest.skip(str(error))
    whole = timm.create_model(name, **size).eval()
    randomise(whole)
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    model = build(f"timm/{name}", 96, str(tmp_path / "whole.pth")).eval()
    images = torch.randn(1, 3, 96, 96)
    _, intermediates = whole.forward_intermediates(images)
    features = model(images)[:3]
    assert [feature.shape[2] for feature in features] == [12, 6, 3]
    by_size = {feature.shape[2]: feature for feature in intermediates}
    for feature in features:
        torch.testing.assert_close(feature, by_size[feature.shape[2]], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_channels_come_second_where_timm_has_them_last(timm) -> None:
    if not timm.is_model("mambaout_femto"):
        pytest.skip("timm has it from 1.0.11 on")
    model = build("timm/mambaout_femto", (64, 96)).eval()
    images = torch.randn(1, 3, 64, 96)
    features = model(images)
    expected = model.network(images)[1:]
    assert [output.shape[3] for output in expected] == [feature.shape[1] for feature in features[:3]]
    for feature, output in zip(features[:3], expected, strict=True):
        assert torch.equal(feature, output.permute(0, 3, 1, 2))


def test_weights_of_another_network_are_refused(timm, tmp_path) -> None:
    for name, other in (("resnet10t", "resnet14t"), ("resnet34", "resnet18")):
        torch.save(timm.create_model(other).state_dict(), tmp_path / f"{other}.pth")
        with pytest.raises(CheckpointError, match=rf"{other}\.pth"):
            build(f"timm/{name}", 96, str(tmp_path / f"{other}.pth"))


@pytest.fixture
def publish(timm: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], nn.Module]:
    """Function that puts a file in place of the weights of resnet10t, without the tensors of a layer."""

    def put(drop: str = "none") -> nn.Module:
        path, create, whole = tmp_path / "weights.pth", timm.create_model, timm.create_model("resnet10t")
        randomise(whole)
        torch.save({key: value for key, value in whole.state_dict().items() if not key.startswith(drop)}, path)
        overlay = {"pretrained_cfg_overlay": {"file": str(path)}}
        monkeypatch.setattr(timm, "create_model", lambda name, **kwargs: create(name, **overlay, **kwargs))
        return whole

    return put


def test_published_weights_are_loaded_whole(publish, caplog) -> None:
    whole = publish()
    model = build("timm/resnet10t", 96, True)
    assert torch.equal(model.network.layer4[0].conv1.weight, whole.layer4[0].conv1.weight)
    assert torch.equal(model.network.bn1.running_var, whole.bn1.running_var)
    # The default configuration has the mean of VGG and no scale.
    assert "INPUT.PIXEL_STD is [1, 1, 1]" in caplog.text
    assert "[58.395, 57.12, 57.375]" in caplog.text
    caplog.clear()
    fitting = ["INPUT.PIXEL_MEAN", [124, 116, 104], "INPUT.PIXEL_STD", [58.395, 57.12, 57.375]]
    registry.BACKBONES["timm/resnet10t"](config("timm/resnet10t", 96, *fitting), True)
    assert not any(record.levelno >= logging.WARNING for record in caplog.records)


def test_published_weights_with_a_gap_are_refused(publish) -> None:
    publish("layer2.")
    with pytest.raises(RuntimeError, match="Missing key"):
        build("timm/resnet10t", 96, True)


def test_failed_download(timm, monkeypatch) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
        if pretrained:
            raise OSError("no route to host")
        return create(name, **kwargs)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(DownloadError, match=r"resnet10t.*no route to host"):
        build("timm/resnet10t", 96, True)


@pytest.mark.parametrize(
    ("name", "image_size", "pretrained", "message"),
    [
        ("timm/resnet188", 300, False, r"timm/resnet188.* timm/resnet18\?"),
        ("timm/resnet18.foo", 300, False, r"\(foo\).* resnet18\.a1_in1k, "),
        ("timm/qqqqqq", 300, False, r"timm/qqqqqq.* timm\.list_models\(\)"),
        ("timm/levit_128s", 224, False, r"strides \[16, 32, 64\]"),
        ("timm/vit_tiny_patch16_224", 224, False, r"strides \[16, 16, 16\]"),
        ("timm/nest_tiny", 300, False, r"INPUT.IMAGE_SIZE \(300, 300\): .*fit evenly"),
        ("timm/maxvit_pico_rw_256", 300, False, r"IMAGE_SIZE \(300, 300\) .*divisible by window"),
        ("timm/hrnet_w18_small", 300, False, r"IMAGE_SIZE \(300, 300\)"),
        ("timm/lcnet_035", 96, True, r"lcnet_035.* MODEL\.BACKBONE\.PRETRAINED"),
    ],
)
def test_mistakes_are_explained(timm, name, image_size, pretrained, message) -> None:
    with pytest.raises(ConfigError, match=message):
        build(name, image_size, pretrained)


def test_without_timm_the_extra_is_named(monkeypatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingPackageError, match=r"pip install -e '\.\[timm\]'"):
        build("timm/resnet18")


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "convnext_atto", "efficientnet_b0", "regnety_002"])
def test_stages_hold_all_layers_before_the_last_map(timm, name) -> None:
    backbone = build(f"timm/{name}")
    frozen = {id(p) for stage in backbone.freezable_stages() for layer in stage for p in layer.parameters()}
    assert len(backbone.freezable_stages()) >= 4
    assert {id(p) for p in backbone.network.parameters()} - frozen == set()


def test_stages_end_at_the_maps_of_the_network(timm) -> None:
    """A network whose layers are not in one row has none."""
    backbone = build("timm/resnet10t")
    stages, network = backbone.freezable_stages(), backbone.network
    assert stages[1] == [network.maxpool, network.layer1]
    assert [stage[-1] for stage in stages[1:]] == [network.layer1, network.layer2, network.layer3, network.layer4]
    assert sum(len(stage) for stage in stages) == len(list(network.children()))
    network.feature_info = SimpleNamespace(module_name=lambda: ["layer1", "elsewhere.2"])
    with pytest.raises(ConfigError, match=r"MODEL\.BACKBONE\.FREEZE_STAGES"):
        backbone.freezable_stages()
