"""ResNet: maps and channels, torchvision as oracle, weights. Those of NVIDIA and MLPerf are in tests/weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from ssd.config import load_config
from ssd.modeling import registry
from ssd.modeling.backbone import resnet
from ssd.modeling.backbone.shapes import feature_shapes
from ssd.modeling.detector import build_detection_model
from ssd.utils.errors import CheckpointError

CONFIGS = Path(__file__).parents[3] / "configs"


def build(name: str, image_size: object, pretrained: bool | str = False) -> resnet.ResNet:
    return registry.BACKBONES[name](load_config(None, ["INPUT.IMAGE_SIZE", image_size]), pretrained)


@pytest.mark.parametrize(
    ("name", "image_size", "channels", "maps"),
    [
        ("resnet18", 300, [256, 512, 512, 256, 256, 128], [(n, n) for n in (38, 19, 10, 5, 3, 1)]),
        ("resnet34", 300, [256, 512, 512, 256, 256, 256], [(n, n) for n in (38, 19, 10, 5, 3, 1)]),
        ("resnet101", 300, [1024, 512, 512, 256, 256, 256], [(n, n) for n in (38, 19, 10, 5, 3, 1)]),
        ("resnet50", 512, [1024, 512, 512, 256, 256, 256, 256], [(n, n) for n in (64, 32, 16, 8, 4, 2, 1)]),
        ("resnet34_mlperf", 300, [256, 512, 512, 256, 256, 256], [(n, n) for n in (38, 19, 10, 5, 3, 1)]),
        # 28 cells halve to 14, 7 and 4; the first unpadded block leaves 2, which the second would make vanish.
        ("resnet18", (224, 321), [256, 512, 512, 256, 256], [(28, 41), (14, 21), (7, 11), (4, 6), (2, 4)]),
    ],
)
def test_maps(name: str, image_size: object, channels: list[int], maps: list[tuple[int, int]]) -> None:
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    shapes = feature_shapes(build(name, image_size), size)  # type: ignore[arg-type]
    assert shapes == [(c, *cells) for c, cells in zip(channels, maps, strict=True)]


def torchvision_model(depth: int) -> nn.Module:
    """A random network of torchvision whose batch norms are as if trained."""
    model = torchvision.models.get_model(f"resnet{depth}", weights=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize(("depth", "counters"), [(18, True), (18, False), (50, True)])
def test_weights_of_torchvision_give_its_features(depth: int, counters: bool, tmp_path: Path) -> None:
    oracle = torchvision_model(depth)
    weights = {key: value for key, value in oracle.state_dict().items() if counters or "num_batches" not in key}
    torch.save(weights, tmp_path / "resnet.pth")
    model = build(f"resnet{depth}", 96, str(tmp_path / "resnet.pth")).eval()

    strided = oracle.layer3[0].conv2 if depth >= 50 else oracle.layer3[0].conv1
    strided.stride = oracle.layer3[0].downsample[0].stride = (1, 1)
    images = torch.randn(1, 3, 64, 80)
    expected = oracle.maxpool(oracle.relu(oracle.bn1(oracle.conv1(images))))
    expected = oracle.layer3(oracle.layer2(oracle.layer1(expected)))
    torch.testing.assert_close(model(images)[0], expected, rtol=1e-5, atol=1e-5)


def test_weights_of_another_depth_are_refused(tmp_path: Path) -> None:
    torch.save(torchvision_model(18).state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(CheckpointError, match="does not fit"):
        build("resnet34", 300, str(tmp_path / "resnet18.pth"))


@pytest.mark.parametrize("depth", sorted(resnet.PRETRAINED_URLS))
def test_urls_are_those_of_torchvision(depth: int) -> None:
    assert torchvision.models.get_model_weights(f"resnet{depth}")["IMAGENET1K_V1"].url == resnet.PRETRAINED_URLS[depth]


@pytest.mark.parametrize(("name", "batch_size"), [("resnet18", 1), ("resnet34_mlperf", 2)])
def test_every_parameter_learns_down_to_one_image_on_one_cell(name: str, batch_size: int) -> None:
    model = build(name, 64).train()
    features = model(torch.randn(batch_size, 3, 64, 64))
    assert features[-1].shape[2:] == (1, 1)
    torch.stack([(feature * torch.randn_like(feature)).sum() for feature in features]).sum().backward()
    gradients = {key: weight.grad for key, weight in model.named_parameters()}
    assert [key for key, grad in gradients.items() if grad is None or not grad.isfinite().all()] == []
    assert [key for key, grad in gradients.items() if not grad.any()] == []  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("config", "vgg_config"),
    [
        ("resnet18_ssd300_voc0712", "vgg_ssd300_voc0712"),
        ("resnet50_ssd300_voc0712", "vgg_ssd300_voc0712"),
        ("resnet34_ssd300_coco2017", "vgg_ssd300_coco_trainval35k"),
        ("resnet50_ssd300_coco2017", "vgg_ssd300_coco_trainval35k"),
        ("resnet50_ssd512_coco2017", "vgg_ssd512_coco_trainval35k"),
    ],
)
def test_priors_of_the_configs_are_those_of_vgg(config: str, vgg_config: str, goldens: Path) -> None:
    expected = np.load(goldens / "lufficc" / f"priors_{vgg_config}.npz")["priors"]
    model = build_detection_model(load_config(CONFIGS / f"{config}.yaml"), pretrained=False)
    assert torch.equal(model.box_head.priors, torch.from_numpy(expected))
