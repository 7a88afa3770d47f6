"""SSD300 and SSD512 of mmdetection against their recordings, and back."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ssd.modeling.anchors import PriorBox
from ssd.utils.errors import CheckpointError
from ssd.weights.formats.mmdet_ssd import SOURCE, TARGET, differences, restore
from tests.weights.formats import peers

LISTINGS = [f"mmdet_ssd{size}_{data}" for size in (300, 512) for data in ("coco", "voc")]


@pytest.mark.parametrize("name", ["mmdet_ssd300_coco", pytest.param("mmdet_ssd512_voc", marks=pytest.mark.slow)])
def test_recording(name: str) -> None:
    """It limits candidates to 1000 a level; greedy NMS takes the best first, so that changes none of the best 200."""
    peer = peers.load_peer(name)
    converted = peers.convert(SOURCE, peer.weights)
    assert converted.config == f"interop/{name}"
    detector = peers.build(converted)
    background = int(peer.recorded["background_index"])
    classes = [background, *range(background)]
    peers.check_recording(detector, peer.recorded, classes=classes)


def test_priors_of_the_recorded_512() -> None:
    priors = PriorBox(peers.complete_config("interop/mmdet_ssd512_voc"))()
    recorded = np.load(peers.GOLDENS / "peers" / "mmdet_ssd512_voc.npz")["priors_all"]
    np.testing.assert_allclose(priors, recorded, rtol=0, atol=1e-6)


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
    expected = peers.convert(SOURCE, weights)
    converted = peers.convert(SOURCE, older, {"meta": {"mmdet_version": "2.13.0+f08548b"}})
    assert converted.weights.keys() == expected.weights.keys()
    assert (converted.config, converted.notes) == (expected.config, ())
    with torch.device("meta"):
        peers.build(converted)


def test_older_names_without_a_version_are_doubtful() -> None:
    (note,) = peers.convert(SOURCE, older_names(peers.meta_weights("mmdet_ssd300_voc"))).notes
    assert "If it is of 1.x" in note
    assert peers.convert(SOURCE, peers.meta_weights("mmdet_ssd300_voc")).notes == ()


@pytest.mark.parametrize("version", ["1.2.0+0f33c08", "0.6rc0"])
def test_version_1_is_refused(version: str) -> None:
    weights = older_names(peers.meta_weights("mmdet_ssd300_coco"))
    with pytest.raises(CheckpointError, match=f"by mmdetection {re.escape(version)}, whose SSD has other priors"):
        peers.convert(SOURCE, weights, {"meta": {"mmdet_version": version}})


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
def test_which_priors(listing: str, meta: dict[str, Any], config: str) -> None:
    assert peers.convert(SOURCE, peers.meta_weights(listing), {"meta": meta}).config == f"interop/{config}"


def test_classes_of_ones_own_have_the_priors_of_coco() -> None:
    weights = peers.meta_weights("mmdet_ssd300_coco", {r"bbox_head\.cls": (81, 4)})
    converted = peers.convert(SOURCE, weights)
    assert converted.config == "interop/mmdet_ssd300_coco"
    assert "config for COCO" in converted.notes[0]
    with torch.device("meta"):
        model = peers.build(converted).config.MODEL
    assert model.NUM_CLASSES == 4


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
def test_class_names(meta: Any, class_names: tuple[str, ...] | None) -> None:
    converted = peers.convert(SOURCE, peers.meta_weights("mmdet_ssd300_coco"), {"meta": meta})
    assert converted.class_names == class_names


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("backbone.features.28.weight", "backbone.vgg.28.weight"),
        ("neck.extra_layers.2.1.conv.weight", "backbone.extras.5.weight"),
        ("neck.l2_norm.weight", "backbone.l2_norm.weight"),
        ("bbox_head.reg_convs.4.0.bias", "box_head.predictor.reg_headers.4.bias"),
        ("bbox_head.cls_convs.2.0.weight", "box_head.predictor.cls_headers.2.weight"),
    ],
)
def test_damaged(name: str, ours: str) -> None:
    with torch.device("meta"):
        peers.check_damaged(SOURCE, peers.meta_weights("mmdet_ssd300_voc"), name, ours)


def test_restored_is_the_file_that_was_converted() -> None:
    weights = peers.fill_faster(peers.read_shapes("mmdet_ssd300_coco"))
    content = restore(peers.convert(SOURCE, weights).weights, ("cat", "dog"))
    assert content["state_dict"].keys() == weights.keys()
    assert [key for key, value in weights.items() if not torch.equal(value, content["state_dict"][key])] == []
    assert peers.convert(SOURCE, content["state_dict"], content).class_names == ("cat", "dog")


def test_restored_512_has_its_names_and_shapes() -> None:
    weights = peers.meta_weights("mmdet_ssd512_voc")
    restored = restore(peers.convert(SOURCE, weights).weights, ())["state_dict"]
    assert {name: value.shape for name, value in restored.items()} == {name: v.shape for name, v in weights.items()}


def test_other_networks_are_not_restored() -> None:
    with pytest.raises(CheckpointError, match="mmdetection has VGG16 with an L2 norm"):
        restore({"backbone.conv1.weight": torch.zeros(1)}, ())


@pytest.mark.parametrize("name", ["mmdet_ssd300_coco", "mmdet_ssd512_coco"])
def test_nothing_is_to_be_set_for_its_own(name: str) -> None:
    assert TARGET.differences is differences
    assert differences(peers.complete_config(f"interop/{name}")) == []


def test_what_is_to_be_set_for_the_512_of_voc() -> None:
    (settings,) = differences(peers.complete_config("interop/mmdet_ssd512_voc"))
    assert settings == (
        "Take its config ssd512_coco.py and set model.bbox_head.num_classes=20, "
        "model.bbox_head.anchor_generator.min_sizes=[35.0, 76.0, 153.0, 230.0, 307.0, 384.0, 460.0], "
        "model.bbox_head.anchor_generator.max_sizes=[76.0, 153.0, 230.0, 307.0, 384.0, 460.0, 537.0]"
    )


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("MODEL.PRIORS.CLIP", True, "never clips priors"),
        ("MODEL.PRIORS.CENTERS", "map", "MODEL.PRIORS.CENTERS is map"),
        ("MODEL.PRIORS.ASPECT_RATIOS", [[2], [[2, 0.4], 3], [2, 3], [2, 3], [2], [2]], "ASPECT_RATIOS has pairs"),
        ("MODEL.PRIORS.ASPECT_RATIOS", [[3], [2, 3], [2, 3], [2, 3], [2], [2]], "anchor_generator.ratios=[[3], [2, 3]"),
        ("MODEL.PRIORS.STRIDES", [8, 16, 32, 64, 100, 290], "anchor_generator.strides=[(8, 8), (16, 16)"),
        ("MODEL.CENTER_VARIANCE", 0.2, "bbox_coder.target_stds=[0.2, 0.2, 0.2, 0.2]"),
        ("INPUT.PIXEL_MEAN", [123, 117, 104], "data_preprocessor.mean=[123.0, 117.0, 104.0]"),
        ("INPUT.PIXEL_STD", [58, 57, 57], "data_preprocessor.std=[58.0, 57.0, 57.0]"),
        ("TEST.CLIP_BOXES", False, "bbox_coder.clip_border=False"),
        ("TEST.CONFIDENCE_THRESHOLD", 0.05, "test_cfg.score_thr=0.05"),
        ("TEST.NMS_THRESHOLD", 0.5, "test_cfg.nms.iou_threshold=0.5"),
        ("TEST.MAX_PER_IMAGE", 100, "test_cfg.max_per_img=100"),
        ("TEST.PRE_NMS_TOP_K", 400, "TEST.PRE_NMS_TOP_K by class, to 400"),
        ("TEST.MAX_PER_CLASS", 50, "TEST.MAX_PER_CLASS is 50"),
    ],
)
def test_each_difference_is_told(key: str, value: Any, sentence: str) -> None:
    (told,) = differences(peers.complete_config("interop/mmdet_ssd300_coco", key, value))
    assert sentence in told


def test_another_input_size_is_told() -> None:
    (told,) = differences(peers.complete_config("interop/mmdet_ssd300_coco", "INPUT.IMAGE_SIZE", (300, 310)))
    assert told.endswith("the scale of Resize in test_pipeline=(310, 300)")
