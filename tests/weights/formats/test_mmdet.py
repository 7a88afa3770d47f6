"""Versions, priors and classes of mmdetection's files. test_recordings.py compares the networks."""

import re

import pytest
import torch
from torch import Tensor

from ssd.utils.errors import CheckpointError
from tests.weights.formats import peers

LISTINGS = [f"mmdet_ssd{size}_{data}" for size in (300, 512) for data in ("coco", "voc")]
SSDLITE = "mmdet_ssdlite_mobilenetv2_coco"


def older_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names before 2.14."""

    def older(name: str) -> str:
        name = name.replace("neck.l2_norm", "backbone.l2_norm")
        name = re.sub(r"(bbox_head\.\w+\.\d)\.0\.", r"\1.", name)
        extra = r"neck\.extra_layers\.(\d)\.(\d)\.conv"
        return re.sub(extra, lambda match: f"backbone.extra.{2 * int(match[1]) + int(match[2])}", name)

    return {older(name): value for name, value in weights.items()}


@pytest.mark.parametrize("listing", LISTINGS)
def test_older_names_are_the_same_detector(listing: str) -> None:
    weights = peers.meta_weights(listing)
    older = older_names(weights)
    assert not any(name.startswith("neck.") for name in older)
    expected = peers.convert(weights)
    converted = peers.convert(older, {"meta": {"mmdet_version": "2.13.0+f08548b"}})
    assert converted.weights.keys() == expected.weights.keys()
    assert (converted.config, converted.notes) == (expected.config, ())
    with torch.device("meta"):
        peers.build(converted)


def test_older_names_without_a_version_are_doubtful_and_version_1_is_refused() -> None:
    older = older_names(peers.meta_weights("mmdet_ssd300_voc"))
    (note,) = peers.convert(older).notes
    assert "1.x" in note
    assert peers.convert(peers.meta_weights("mmdet_ssd300_voc")).notes == ()
    for version in ("1.2.0+0f33c08", "0.6rc0"):
        with pytest.raises(CheckpointError, match=re.escape(version)):
            peers.convert(older, {"meta": {"mmdet_version": version}})


@pytest.mark.parametrize(
    ("listing", "meta", "config"),
    [
        ("mmdet_ssd300_coco", {}, "mmdet_ssd300_coco"),
        ("mmdet_ssd300_voc", {}, "mmdet_ssd300_voc"),
        ("mmdet_ssd300_coco", {"config": "basesize_ratio_range=(0.2, 0.9), strides"}, "mmdet_ssd300_voc"),
        ("mmdet_ssd300_voc", {"cfg": "basesize_ratio_range=(\n    0.15,\n    0.9,\n)"}, "mmdet_ssd300_coco"),
        ("mmdet_ssd512_voc", {"cfg": "basesize_ratio_range=(0.15, 0.9)"}, "mmdet_ssd512_voc"),
        ("mmdet_ssd512_voc", {"cfg": "basesize_ratio_range=(0.1, 0.9)"}, "mmdet_ssd512_coco"),
        ("mmdet_ssd512_coco", {"cfg": 7}, "mmdet_ssd512_coco"),
    ],
)
def test_which_priors(listing: str, meta, config: str) -> None:
    assert peers.convert(peers.meta_weights(listing), {"meta": meta}).config == f"interop/{config}"


def test_classes_of_ones_own_have_the_priors_of_coco() -> None:
    converted = peers.convert(peers.meta_weights("mmdet_ssd300_coco", {r"bbox_head\.cls": (81, 4)}))
    assert converted.config == "interop/mmdet_ssd300_coco"
    assert "config for COCO" in converted.notes[0]
    assert peers.count_built_classes(converted) == 4


@pytest.mark.parametrize(
    ("meta", "class_names"),
    [
        ({"CLASSES": ("cat", "dog")}, ("cat", "dog")),
        ({"dataset_meta": {"classes": ["cat", "dog"]}}, ("cat", "dog")),
        ({"dataset_meta": {"CLASSES": ("cat",)}, "CLASSES": None}, ("cat",)),
        ({"CLASSES": "cat"}, ("cat",)),
        ({"CLASSES": ("cat", 1)}, None),
        ({"CLASSES": ()}, None),
        ({}, None),
        ("a string", None),
    ],
)
@pytest.mark.parametrize("listing", ["mmdet_ssd300_coco", SSDLITE])
def test_class_names(listing: str, meta, class_names: tuple[str, ...] | None) -> None:
    assert peers.convert(peers.meta_weights(listing), {"meta": meta}).class_names == class_names


def test_ssdlite_with_classes_of_ones_own() -> None:
    """Three and the background, which is first here."""
    weights = {name: torch.empty(shape) for name, shape in peers.read_shapes(SSDLITE).items()}
    for name, value in weights.items():
        if name.startswith("bbox_head.cls_convs.") and name.endswith((".1.weight", ".1.bias")):
            scores = torch.arange(6 * 4.0)  # of six priors
            weights[name] = scores if value.dim() == 1 else scores.view(-1, 1, 1, 1).repeat(1, value.shape[1], 1, 1)
    detector = peers.build(peers.convert(weights))
    assert detector.config.MODEL.NUM_CLASSES == 4
    for header in detector.model.box_head.predictor.cls_headers:
        last = header.conv[3]
        assert last.bias.tolist() == last.weight[:, 0, 0, 0].tolist()
        assert last.bias[:8].tolist() == [3, 0, 1, 2, 7, 4, 5, 6]
