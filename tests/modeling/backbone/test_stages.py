"""Stages of the backbones, freezing them, and feature maps of one's own choice."""

import copy
import re

import pytest
import torch
from torch import nn

from ssd.config import load_config
from ssd.modeling import registry
from ssd.modeling.backbone.stages import feature_shapes, freeze_batch_norms, freeze_stages, split_at_strides
from ssd.structures import Container
from ssd.utils.errors import ConfigError
from tests.tiny import tiny_detector


def test_a_stage_begins_where_the_resolution_halves() -> None:
    a, b, c, d = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1, stride=2), nn.ReLU(), nn.Sequential(nn.MaxPool2d(2, 2))
    assert split_at_strides([a, b, c, d]) == [[a], [b, c], [d]]
    assert split_at_strides([b, c]) == [[b, c]]


@pytest.mark.parametrize(
    ("name", "num_layers"),
    [
        ("vgg", [4, 5, 7, 7, 12]),  # 2, 2, 3, 3 and 5 convolutions, each with its ReLU, and the pool before
        ("mobilenet_v1", [2, 2, 2, 6, 2]),
        ("mobilenet_v2", [2, 2, 3, 7, 5]),
        ("mobilenet_v2_expansion", [2, 2, 3, 7, 5]),
        ("mobilenet_v3", [2, 2, 3, 6, 4]),
        ("efficient_net-b0", [3, 2, 2, 6, 5]),
        ("squeezenet1_1", [2, 3, 3, 5]),
        ("resnet18", [2, 1, 1, 1]),
        ("resnet50", [2, 1, 1, 1]),
        ("tiny", [1, 2, 3, 3, 2, 1]),
    ],
)
def test_stages_of_the_backbones(name: str, num_layers: list[int]) -> None:
    with torch.device("meta"):
        backbone = registry.BACKBONES[name](load_config(None), False)
    stages = backbone.freezable_stages()
    assert [len(stage) for stage in stages] == num_layers
    in_stages = {id(p) for stage in stages for layer in stage for p in layer.parameters()}
    others = [name for name, p in backbone.named_parameters() if id(p) not in in_stages]
    assert all(name.startswith(("extras.", "l2_norm.")) for name in others)


def step(model: nn.Module) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sides = torch.tensor([20.0, 36.0, 56.0, 80.0]) / 96  # an object for every level
    boxes = torch.stack([sides * 0, sides * 0, sides, sides], dim=1).repeat(2, 1, 1)
    labels = torch.tensor([[1, 2, 3, 1]]).repeat(2, 1)
    losses = model(torch.randn(2, 3, 96, 96), Container(boxes=boxes, labels=labels))
    sum(losses.values()).backward()
    optimizer.step()


@pytest.mark.parametrize("copied", [False, True])
def test_frozen_stages_stay_as_they_are(copied: bool) -> None:
    model = tiny_detector("MODEL.BACKBONE.FREEZE_STAGES", 2)
    model = copy.deepcopy(model) if copied else model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for mode in (True, False, True):
        model.train(mode)
    step(model)
    frozen = ("backbone.stages.0.0.", "backbone.stages.0.1.", "backbone.stages.0.2.")  # one and two convolutions
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith(frozen), name
    assert model.training
    assert model.backbone.stages[1].training


def test_no_gradient_is_computed_in_frozen_stages() -> None:
    model = tiny_detector("MODEL.BACKBONE.FREEZE_STAGES", 2)
    needed = []
    for layer in model.backbone.stages[0]:
        layer.register_forward_hook(lambda _, __, output: needed.append(output.requires_grad))
    model.backbone(torch.randn(1, 3, 96, 96))
    assert needed == [False, False, False, True, True, True]


def test_frozen_batch_norms() -> None:
    model = tiny_detector("MODEL.BACKBONE.FREEZE_BATCH_NORMS", True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step(model)
    names = [name for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(names) == 12
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith(tuple(f"{norm}." for norm in names)), name


def test_batch_norms_of_extra_layers_are_trained() -> None:
    backbone = nn.ModuleDict({"features": nn.BatchNorm2d(1), "extras": nn.Sequential(nn.BatchNorm2d(1))})
    assert freeze_batch_norms(backbone) == [backbone["features"]]
    assert backbone["extras"][0].training
    assert [parameter.requires_grad for parameter in backbone.parameters()] == [False, False, True, True]


def test_freezing_more_than_there_is() -> None:
    with pytest.raises(ConfigError, match=r"FREEZE_STAGES is 7.* 6 stages"):
        tiny_detector("MODEL.BACKBONE.FREEZE_STAGES", 7)
    with pytest.raises(ConfigError, match=r"'mine'.*freezable_stages"):
        freeze_stages(nn.Conv2d(3, 3, 1), 1, "mine")


def shapes(name: str, out_indices: list[int]) -> list[tuple[int, int, int]]:
    cfg = load_config(None, ["MODEL.BACKBONE.OUT_INDICES", out_indices])
    with torch.device("meta"):
        return feature_shapes(registry.BACKBONES[name](cfg, False), (320, 320))


@pytest.mark.parametrize(
    ("name", "index", "channels"),
    [
        *[("mobilenet_v1", 5, 256), ("mobilenet_v2", 6, 32), ("mobilenet_v2_expansion", 7, 192)],
        *[("mobilenet_v3", 6, 40), ("mobilenet_v3_ssdlite", 7, 240), ("mobilenet_v3_ssdlite_reduced", 7, 240)],
        *[("mobilenet_v3_large_qfgaohao", 6, 40), ("mobilenet_v3_small_qfgaohao", 3, 24)],
    ],
)
def test_a_finer_level(name: str, index: int, channels: int) -> None:
    published = shapes(name, [])
    with torch.device("meta"):
        layers = registry.BACKBONES[name](load_config(None), False).out_indices
    assert shapes(name, [index, *layers]) == [(channels, 40, 40), *published]
    assert shapes(name, list(layers)) == published


def test_out_indices_that_cannot_be() -> None:
    for name, indices in (("mobilenet_v2", [6, 19]), ("mobilenet_v3", [12, 6]), ("mobilenet_v3_ssdlite", [7, 99])):
        with pytest.raises(ConfigError, match=rf"OUT_INDICES .*{re.escape(str(indices))}"):
            shapes(name, indices)
    with pytest.raises(ConfigError, match=r"OUT_INDICES is \[3\]"):
        tiny_detector("MODEL.BACKBONE.OUT_INDICES", [3])
