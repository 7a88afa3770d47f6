"""Details of NVIDIA's, uvipen's and MLPerf's files. test_recordings.py compares the networks."""

import re

import pytest
import torch
from torch import Tensor

from ssd.config import load_config
from ssd.modeling.detector import build_detection_model
from ssd.utils.errors import CheckpointError
from ssd.weights.formats import all_formats
from tests.weights.formats import peers

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


@pytest.mark.parametrize("prefix", ["1.", "module.1."])
def test_prefixes(prefix: str) -> None:
    weights = peers.fill_faster(peers.read_shapes("nvidia_ssd300_resnet18_coco"))
    expected = all_formats()["nvidia"].convert(weights, {}).weights
    found = peers.convert({f"{prefix}{name}": value for name, value in weights.items()}).weights
    assert found.keys() == expected.keys()
    assert all(found[name] is value or torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_depth_follows_from_the_names(depth: int) -> None:
    """Our tensors come in the order of the model, by which optimizers number them."""
    with torch.device("meta"):
        converted = peers.convert(shapes_of(depth))
        config, model = peers.build(converted)
    assert (f"resnet{depth}", 21) == (config.MODEL.BACKBONE.NAME, config.MODEL.NUM_CLASSES)
    backbone = [name for name in model.state_dict() if name.startswith("backbone.")]
    assert [name for name in converted.weights if name.startswith("backbone.")] == backbone


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
def test_class_names(label_map, class_names: tuple[str, ...] | None) -> None:
    assert all_formats()["nvidia"].convert(shapes_of(18), {"label_map": label_map}).class_names == class_names


def test_a_network_that_is_no_resnet() -> None:
    weights = {name: value for name, value in shapes_of(18).items() if not re.search(r"extractor\.6\.1\.", name)}
    with pytest.raises(CheckpointError, match=r"feature_extractor\.6 has 1 basic blocks"):
        all_formats()["nvidia"].convert(weights, {})


def test_mlperf() -> None:
    labels = dict(enumerate(["background", *map(str, range(80))]))
    converted = peers.convert(peers.meta_weights("mlperf_ssd300_resnet34_coco"), {"label_map": labels})
    assert converted.class_names == tuple(map(str, range(80)))
    assert ["1200" in note for note in converted.notes] == [True]


def test_headers_that_uvipens_ssdlite_does_not_use_are_dropped() -> None:
    weights = peers.meta_weights("uvipen_ssdlite300_mobilenetv2_coco")
    converted = peers.convert(weights)
    assert ["loc.6 and conf.6" in note for note in converted.notes] == [True]
    without = {name: value for name, value in weights.items() if ".6." not in name or name.startswith("feature")}
    assert len(without) == len(weights) - 4
    assert peers.convert(without).weights.keys() == converted.weights.keys()


def test_the_config_is_that_of_coco_with_their_thresholds() -> None:
    shipped = load_config(peers.ROOT / "configs" / "interop" / "nvidia_ssd300_resnet50_coco.yaml")
    own = load_config(peers.ROOT / "configs" / "resnet50_ssd300_coco2017.yaml")
    assert (shipped.MODEL, shipped.INPUT, shipped.SOLVER) == (own.MODEL, own.INPUT, own.SOLVER)
