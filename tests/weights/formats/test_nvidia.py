"""NVIDIA's SSD300 with ResNet-18, 34 and 50, and uvipen's with ResNet-50, against their recordings."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from ssd.config import load_config
from ssd.modeling.detector import build_detection_model
from ssd.utils.errors import CheckpointError
from ssd.weights.formats.nvidia import SOURCE
from tests.weights.formats import peers

NAMES = [*(f"nvidia_ssd300_resnet{depth}_coco" for depth in (18, 34, 50)), "uvipen_ssd300_resnet50_coco"]
# Our names, by pattern, and theirs.
THEIR_NAMES = (
    (r"backbone\.conv1\.", "feature_extractor.feature_extractor.0."),
    (r"backbone\.bn1\.", "feature_extractor.feature_extractor.1."),
    (r"backbone\.layer1\.", "feature_extractor.feature_extractor.4."),
    (r"backbone\.layer2\.", "feature_extractor.feature_extractor.5."),
    (r"backbone\.layer3\.", "feature_extractor.feature_extractor.6."),
    (r"backbone\.extras\.", "additional_blocks."),
    (r"box_head\.predictor\.reg_headers\.", "loc."),
    (r"box_head\.predictor\.cls_headers\.", "conf."),
)


def shapes_of(depth: int) -> dict[str, Tensor]:
    """Empty tensors under the names that their detector of this depth has, 21 classes."""
    config = load_config(None, ["MODEL.BACKBONE.NAME", f"resnet{depth}"])
    with torch.device("meta"):
        ours = build_detection_model(config, pretrained=False).state_dict()
    for pattern, theirs in THEIR_NAMES:
        ours = {re.sub(f"^{pattern}", theirs, name): value for name, value in ours.items()}
    return dict(ours)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == NAMES[2] else pytest.mark.slow) for name in NAMES]
)
def test_recording(name: str) -> None:
    peer = peers.load_peer(name)
    converted = peers.convert(SOURCE, peer.weights)
    assert converted.overrides == ("MODEL.BACKBONE.NAME", name.split("_")[2])
    detector = peers.build(converted)
    order = peers.value_major_order(detector.levels)
    peers.check_recording(detector, peer.recorded, order=order)


def test_our_tensors_come_in_the_same_order() -> None:
    """As optimizers number them by it."""
    with torch.device("meta"):
        converted = peers.convert(SOURCE, shapes_of(18))
        names = list(peers.build(converted).model.state_dict())
    backbone = [name for name in names if name.startswith("backbone.")]
    assert [name for name in converted.weights if name.startswith("backbone.")] == backbone


@pytest.mark.parametrize("prefix", ["1.", "module.1."])
def test_prefixes(prefix: str) -> None:
    weights = peers.fill_faster(peers.read_shapes(NAMES[0]))
    expected = SOURCE.convert(weights, {}).weights
    found = peers.convert(SOURCE, {f"{prefix}{name}": value for name, value in weights.items()}).weights
    assert found.keys() == expected.keys()
    assert all(found[name] is value or torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_depth_follows_from_the_names(depth: int) -> None:
    with torch.device("meta"):
        converted = peers.convert(SOURCE, shapes_of(depth))
        detector = peers.build(converted)
    backbone, num_classes = detector.config.MODEL.BACKBONE.NAME, detector.config.MODEL.NUM_CLASSES
    assert (backbone, num_classes) == (f"resnet{depth}", 21)


@pytest.mark.parametrize(
    ("label_map", "class_names"),
    [
        ({0: "background", 2: "cat", 1: "dog"}, ("dog", "cat")),
        ({1: "dog", 2: "cat"}, None),
        ({0: "background", 1: 18}, None),
        ({"dog": 1}, None),
        ({}, None),
        (None, None),
    ],
)
def test_class_names(label_map: Any, class_names: tuple[str, ...] | None) -> None:
    assert SOURCE.convert(shapes_of(18), {"label_map": label_map}).class_names == class_names


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("feature_extractor.feature_extractor.0.weight", "backbone.conv1.weight"),
        ("feature_extractor.feature_extractor.6.1.conv2.weight", "backbone.layer3.1.conv2.weight"),
        ("additional_blocks.4.3.weight", "backbone.extras.4.3.weight"),
        ("loc.2.bias", "box_head.predictor.reg_headers.2.bias"),
        ("conf.5.weight", "box_head.predictor.cls_headers.5.weight"),
    ],
)
def test_damaged(name: str, ours: str) -> None:
    with torch.device("meta"):
        peers.check_damaged(SOURCE, shapes_of(18), name, ours)


def test_a_network_that_is_no_resnet() -> None:
    weights = {name: value for name, value in shapes_of(18).items() if not re.search(r"extractor\.6\.1\.", name)}
    with pytest.raises(CheckpointError, match=r"feature_extractor\.6 has 1 basic blocks; a ResNet-18, 34, 50, 101, "):
        SOURCE.convert(weights, {})


def test_the_config_is_that_of_coco_with_their_thresholds() -> None:
    shipped = load_config(peers.ROOT / "configs" / "interop" / "nvidia_ssd300_resnet50_coco.yaml")
    own = load_config(peers.ROOT / "configs" / "resnet50_ssd300_coco2017.yaml")
    assert (shipped.MODEL, shipped.INPUT, shipped.SOLVER) == (own.MODEL, own.INPUT, own.SOLVER)
