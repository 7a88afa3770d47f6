"""ResNet: maps and channels, torchvision as oracle, weights. Those of NVIDIA and MLPerf are in tests/weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from ssd.config import load_config
from ssd.modeling import registry
from ssd.modeling.backbone import resnet
from ssd.modeling.detector import build_detection_model
from tests.modeling.backbone.outputs import randomise

CONFIGS = Path(__file__).parents[3] / "configs"


@torch.no_grad()
@pytest.mark.parametrize(("depth", "counters"), [(18, True), (18, False), (50, True)])
def test_weights_of_torchvision_give_its_features(depth, counters, tmp_path) -> None:
    oracle = torchvision.models.get_model(f"resnet{depth}", weights=None).eval()
    randomise(oracle)
    weights = {key: value for key, value in oracle.state_dict().items() if counters or "num_batches" not in key}
    torch.save(weights, tmp_path / "resnet.pth")
    config = load_config(None, ["INPUT.IMAGE_SIZE", 96])
    model = registry.BACKBONES[f"resnet{depth}"](config, str(tmp_path / "resnet.pth")).eval()

    strided = oracle.layer3[0].conv2 if depth >= 50 else oracle.layer3[0].conv1
    strided.stride = oracle.layer3[0].downsample[0].stride = (1, 1)
    images = torch.randn(1, 3, 64, 80)
    expected = oracle.maxpool(oracle.relu(oracle.bn1(oracle.conv1(images))))
    expected = oracle.layer3(oracle.layer2(oracle.layer1(expected)))
    torch.testing.assert_close(model(images)[0], expected, rtol=1e-5, atol=1e-5)


def test_urls_are_those_of_torchvision() -> None:
    for depth, url in resnet.PRETRAINED_URLS.items():
        assert torchvision.models.get_model_weights(f"resnet{depth}")["IMAGENET1K_V1"].url == url


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
def test_priors_of_the_configs_are_those_of_vgg(config, vgg_config, goldens) -> None:
    expected = np.load(goldens / "lufficc" / f"priors_{vgg_config}.npz")["priors"]
    model = build_detection_model(load_config(CONFIGS / f"{config}.yaml"), pretrained=False)
    assert torch.equal(model.box_head.priors, torch.from_numpy(expected))
