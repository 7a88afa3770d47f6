"""lufficc/SSD: the config of a file, and the settings that it needs for a detector of ours."""

from typing import Any

import pytest
import torch

from ssd.config import load_config
from ssd.modeling.detector import build_detection_model
from ssd.utils.errors import CheckpointError
from ssd.weights.foreign import levels_of
from ssd.weights.formats import all_formats
from ssd.weights.formats.lufficc import differences, find_config
from tests.weights.formats import peers

CONFIGS = [
    *(f"vgg_ssd{size}_{data}" for size in (300, 512) for data in ("voc0712", "coco_trainval35k")),
    *("mobilenet_v2_ssd320_voc0712", "mobilenet_v3_ssd320_voc0712", "efficient_net_b3_ssd300_voc0712"),
]
OURS = ["mobilenet_v1_ssd300_voc0712", "resnet18_ssd300_voc0712", "efficient_net_b0_ssd300_coco2017"]


@pytest.mark.parametrize("name", CONFIGS)
def test_each_of_its_seven(name: str) -> None:
    weights = peers.meta_weights(f"lufficc_{name}")
    converted = peers.convert(weights)
    assert (converted.config, converted.notes) == (name, ())
    assert all(converted.weights[key] is value for key, value in weights.items())
    with torch.device("meta"):
        peers.build(converted)


@pytest.mark.parametrize(
    ("listing", "headers", "num_classes", "config"),
    [
        ("vgg_ssd512_coco_trainval35k", (r".*\.cls_headers\.", 81), 4, "vgg_ssd512_voc0712"),
        ("mobilenet_v2_ssd320_voc0712", (r".*\.cls_headers\.(5|\d\.conv\.3)\.", 21), 81, "mobilenet_v2_ssd320_voc0712"),
    ],
)
def test_classes_of_ones_own(listing: str, headers: tuple[str, int], num_classes: int, config: str) -> None:
    """VGG has the priors of VOC, and a note; the MobileNets have one config for any data."""
    converted = peers.convert(peers.meta_weights(f"lufficc_{listing}", {headers[0]: (headers[1], num_classes)}))
    assert converted.config == config
    assert ["MODEL.PRIORS" in note for note in converted.notes] == [True] * config.startswith("vgg")
    assert peers.count_built_classes(converted) == num_classes


@pytest.mark.parametrize("name", OURS)
def test_networks_that_it_has_not(name: str) -> None:
    with torch.device("meta"):
        weights = build_detection_model(load_config(peers.ROOT / "configs" / f"{name}.yaml"), False).state_dict()
    assert not all_formats()["lufficc"].recognises(list(weights))
    with pytest.raises(CheckpointError, match="lufficc/SSD has VGG16"):
        find_config(weights)


def differences_of(name: str, *overrides: Any) -> list[str]:
    config = peers.read_config(name, *overrides)
    return differences(config, levels_of(config))


def test_settings_for_its_config() -> None:
    assert differences_of("vgg_ssd300_voc0712") == []  # its defaults
    (told,) = differences_of("mobilenet_v2_ssd320_voc0712")
    assert told.partition(": ")[2] == (
        'MODEL.BACKBONE.NAME "mobilenet_v2" '
        'MODEL.BACKBONE.OUT_CHANNELS "[96, 1280, 512, 256, 256, 64]" '
        'MODEL.PRIORS.FEATURE_MAPS "[20, 10, 5, 3, 2, 1]" '
        'MODEL.PRIORS.STRIDES "[16, 32, 64, 107, 160, 320]" '
        'MODEL.PRIORS.MIN_SIZES "[60, 105, 150, 195, 240, 285]" '
        'MODEL.PRIORS.MAX_SIZES "[105, 150, 195, 240, 285, 330]" '
        'MODEL.PRIORS.ASPECT_RATIOS "[[2, 3], [2, 3], [2, 3], [2, 3], [2, 3], [2, 3]]" '
        'MODEL.PRIORS.BOXES_PER_LOCATION "[6, 6, 6, 6, 6, 6]" '
        'MODEL.BOX_HEAD.PREDICTOR "SSDLiteBoxPredictor" '
        'INPUT.IMAGE_SIZE "320"'
    )


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("MODEL.PRIORS.CLIP", False, 'MODEL.PRIORS.CLIP "False"'),
        ("TEST.MAX_PER_IMAGE", 200, 'TEST.MAX_PER_IMAGE "200"'),
        ("INPUT.PIXEL_STD", [58, 57, 57], "INPUT.PIXEL_STD is [58, 57, 57]"),
        ("MODEL.PRIORS.SHAPES", [[[30, 30]] * n for n in (4, 6, 6, 6, 4, 4)], "MODEL.PRIORS.SHAPES is [[[30, 30]"),
        ("MODEL.PRIORS.OFFSETS", [0] * 6, "MODEL.PRIORS.OFFSETS is [0, 0"),
        ("MODEL.PRIORS.CENTERS", "map", "MODEL.PRIORS.CENTERS is map"),
        ("TEST.PRE_NMS_TOP_K", 400, "TEST.PRE_NMS_TOP_K is 400"),
        ("TEST.MAX_PER_CLASS", 50, "TEST.MAX_PER_CLASS is 50"),
        ("TEST.CLIP_BOXES", True, "TEST.CLIP_BOXES is True"),
        ("MODEL.PRIORS.CLIP", "size", "MODEL.PRIORS.CLIP is size"),
        ("MODEL.PRIORS.ASPECT_RATIOS", [[2], [[2, 0.4], 3], [2, 3], [2, 3], [2], [2]], "[[2, 0.4], 3]"),
        ("INPUT.IMAGE_SIZE", (300, 310), "INPUT.IMAGE_SIZE must be square"),
    ],
)
def test_each_difference_is_told(key: str, value: Any, sentence: str) -> None:
    (told,) = differences_of("vgg_ssd300_voc0712", key, value)
    assert sentence in told
