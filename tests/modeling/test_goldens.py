"""VGG SSD300 and SSD512 against arrays recorded from lufficc/SSD: priors, network, names, parameter counts."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssd.config import load_config
from ssd.modeling.anchors import PriorBox
from ssd.modeling.detector import build_detection_model
from ssd.modeling.detector.levels import fill_in_levels

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = ["vgg_ssd300_voc0712", "vgg_ssd512_voc0712", "vgg_ssd300_coco_trainval35k", "vgg_ssd512_coco_trainval35k"]


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    config = load_config(CONFIGS / f"{request.param}.yaml")
    return request.param, build_detection_model(config, pretrained=False)


def test_priors_are_identical(case: tuple[str, nn.Module], goldens: Path) -> None:
    name, model = case
    expected = torch.from_numpy(np.load(goldens / "lufficc" / f"priors_{name}.npz")["priors"])
    assert torch.equal(model.box_head.priors, expected)


def test_derived_priors_equal_the_strides_that_the_authors_wrote(goldens: Path) -> None:
    config = load_config(CONFIGS / "vgg_ssd300_voc0712.yaml")
    model = build_detection_model(config, pretrained=False)
    complete = fill_in_levels(config, model.backbone)
    assert complete.MODEL.PRIORS.STRIDES == [(8, 8), (16, 16), (32, 32), (64, 64), (100, 100), (300, 300)]
    complete.defrost()
    complete.MODEL.PRIORS.STRIDES = [8, 16, 32, 64, 100, 300]
    complete.MODEL.PRIORS.FEATURE_MAPS = [38, 19, 10, 5, 3, 1]
    assert torch.equal(PriorBox(complete)(), model.box_head.priors)


def test_state_dict_names_order_and_shapes(case: tuple[str, nn.Module], goldens: Path) -> None:
    name, model = case
    listing = json.loads((goldens / "statedicts" / f"lufficc_{name}.json").read_text())
    ours = [(key, list(tensor.shape)) for key, tensor in model.state_dict().items()]
    assert ours == [(key, entry["shape"]) for key, entry in listing["state_dict"].items()]
    info = listing["info"]
    assert sum(p.numel() for p in model.parameters()) == info["num_parameters"]
    assert sum(p.numel() for p in model.backbone.parameters()) == info["params_backbone"]


def test_forward(
    case: tuple[str, nn.Module], hashed: Callable[..., Tensor], check_forward: Callable[..., None]
) -> None:
    name, model = case
    model.load_state_dict({key: hashed(key, tensor.shape) for key, tensor in model.state_dict().items()})
    check_forward(model.eval(), name, 512 if "512" in name else 300, rtol=1e-5, atol=1e-5)
