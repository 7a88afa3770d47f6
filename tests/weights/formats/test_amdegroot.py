"""SSD300 of amdegroot/ssd.pytorch against its recording."""

import re

import pytest
import torch

from ssd.weights.formats.amdegroot import SOURCE
from tests.weights.formats import peers

NAME = "amdegroot_ssd300_voc"


def test_recording() -> None:
    peer = peers.load_peer(NAME)
    converted = peers.convert(SOURCE, peer.weights)
    assert converted.config == "interop/amdegroot_ssd300_voc"
    detector = peers.build(converted)
    peers.check_recording(detector, peer.recorded)


def test_201_slots_are_the_classes_of_coco() -> None:
    shapes = peers.read_shapes("amdegroot_ssd300_coco")
    weights = peers.fill_faster({name: shape for name, shape in shapes.items() if not re.match(r"vgg\.\d\d", name)})
    converted = peers.convert(SOURCE, weights)
    assert converted.config == "interop/amdegroot_ssd300_coco"
    assert any("first 81 of 201 classes" in note for note in converted.notes)
    for level, num_priors in enumerate((4, 6, 6, 6, 4, 4)):
        for kind in ("weight", "bias"):
            theirs = weights[f"conf.{level}.{kind}"].unflatten(0, (num_priors, 201))
            ours = converted.weights[f"box_head.predictor.cls_headers.{level}.{kind}"]
            assert torch.equal(ours.unflatten(0, (num_priors, 81)), theirs[:, :81])


@pytest.mark.parametrize(("num_classes", "config"), [(21, "voc"), (81, "coco"), (201, "coco"), (5, "voc")])
def test_the_number_of_classes_tells_the_priors(num_classes: int, config: str) -> None:
    weights = peers.meta_weights(NAME, {r"conf\.": (21, num_classes)})
    converted = peers.convert(SOURCE, weights)
    assert converted.config == f"interop/amdegroot_ssd300_{config}"
    with torch.device("meta"):
        built = peers.build(converted).config.MODEL
    assert min(num_classes, 81) == built.NUM_CLASSES


def test_the_file_from_caffe_is_mentioned() -> None:
    (note,) = peers.convert(SOURCE, peers.meta_weights(NAME)).notes
    assert "ssd_300_VOC0712.pth" in note
    assert "MODEL.PRIORS.CLIP False" in note


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("vgg.31.weight", "backbone.vgg.31.weight"),
        ("extras.7.bias", "backbone.extras.7.bias"),
        ("L2Norm.weight", "backbone.l2_norm.weight"),
        ("loc.3.bias", "box_head.predictor.reg_headers.3.bias"),
        ("conf.0.bias", "box_head.predictor.cls_headers.0.bias"),
    ],
)
def test_damaged(name: str, ours: str) -> None:
    with torch.device("meta"):
        peers.check_damaged(SOURCE, peers.meta_weights(NAME), name, ours)
