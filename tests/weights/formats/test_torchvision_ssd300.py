"""torchvision's ssd300_vgg16: against its recording, against the installed one, and back."""

import re
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import ssd300_vgg16

from ssd.config import Config
from ssd.data import make_batch_transform
from ssd.data.samples import resize_image
from ssd.inference.predictor import Predictor
from ssd.inference.torch_network import TorchNetwork
from ssd.structures import Container
from ssd.utils.errors import CheckpointError
from ssd.weights.formats import torchvision_ssd300
from ssd.weights.formats.headers import CLS_HEADERS, take_values, with_headers
from ssd.weights.formats.torchvision_ssd300 import SOURCE, TARGET, differences, restore
from tests.weights.formats import peers

LISTING = "torchvision_ssd300_vgg16_coco"
UNUSED = [12, 26, 29, 30, 45, 66, 68, 69, 71, 83]
SLOTS = [slot for slot in range(91) if slot not in UNUSED]


def test_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """In random weights all 91 slots compete, so they are all kept here."""
    monkeypatch.setattr(torchvision_ssd300, "NUM_SLOTS", 0)
    peer = peers.load_peer("torchvision_ssd300_vgg16", LISTING)
    detector = peers.build(peers.convert(SOURCE, peer.weights))
    peers.check_recording(detector, peer.recorded)


def test_91_slots_are_the_81_classes_of_coco() -> None:
    shapes = {name: shape for name, shape in peers.read_shapes(LISTING).items() if ".features." not in name}
    weights = peers.fill_faster(shapes)
    converted = peers.convert(SOURCE, weights)
    assert "category id" in converted.notes[0]
    for level, num_priors in enumerate((4, 6, 6, 6, 4, 4)):
        for kind in ("weight", "bias"):
            theirs = weights[f"head.classification_head.module_list.{level}.{kind}"].unflatten(0, (num_priors, 91))
            ours = converted.weights[f"box_head.predictor.cls_headers.{level}.{kind}"]
            assert torch.equal(ours.unflatten(0, (num_priors, 81)), theirs[:, SLOTS])


@pytest.mark.parametrize("num_classes", [3, 21, 81])
def test_classes_of_ones_own_stay(num_classes: int) -> None:
    weights = peers.meta_weights(LISTING, {r"head\.classification": (91, num_classes)})
    converted = peers.convert(SOURCE, weights)
    assert converted.notes == ()
    with torch.device("meta"):
        model = peers.build(converted).config.MODEL
    assert num_classes == model.NUM_CLASSES


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("backbone.features.21.weight", "backbone.vgg.21.weight"),
        ("backbone.extra.0.7.3.bias", "backbone.vgg.33.bias"),
        ("backbone.extra.4.2.weight", "backbone.extras.7.weight"),
        ("backbone.scale_weight", "backbone.l2_norm.weight"),
        ("head.regression_head.module_list.1.bias", "box_head.predictor.reg_headers.1.bias"),
        ("head.classification_head.module_list.3.weight", "box_head.predictor.cls_headers.3.weight"),
    ],
)
def test_damaged(name: str, ours: str) -> None:
    with torch.device("meta"):
        peers.check_damaged(SOURCE, peers.meta_weights(LISTING), name, ours)


def spread(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Let scores spread, the background prevail, and slots without a class be none, as in a trained detector."""
    spread = dict(weights)
    for name, value in weights.items():
        if "classification_head" in name:
            spread[name] = value * 2.3
            if name.endswith("bias"):
                slots = spread[name].unflatten(0, (-1, 91))
                slots[:, 0] += 5
                slots[:, UNUSED] = -30
    return spread


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    model = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=91).eval()
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert shapes == peers.read_shapes(LISTING)
    model.load_state_dict(spread(peers.fill_faster(shapes)))
    return model


@pytest.fixture(scope="module")
def ours(theirs: nn.Module) -> peers.Detector:
    return peers.build(peers.convert(SOURCE, theirs.state_dict()))


def scene(number: int) -> np.ndarray:
    """One of the sample images, RGB (240, 320, 3)."""
    return cv2.cvtColor(cv2.imread(str(peers.ROOT / "demo" / f"scene_{number}.jpg")), cv2.COLOR_BGR2RGB)


# Wide, tall, and as they come.
IMAGES = {"320x240": scene(1), "320x120": scene(3)[60:180], "150x240": scene(5)[:, 80:230]}
ONE_AND_ALL = [pytest.param(name, marks=() if name == "150x240" else pytest.mark.slow) for name in IMAGES]


@torch.no_grad()
def detect(model: nn.Module, image: np.ndarray) -> dict[str, Tensor]:
    """What torchvision finds: boxes in pixels of the image."""
    (found,) = model([torch.from_numpy(image).permute(2, 0, 1).float() / 255])
    return found


def check_same(
    found: Container | dict[str, Any], expected: dict[str, Tensor], size: tuple[int, int], atol: float
) -> None:
    """The same boxes, relative to the image of (width, height) ``size``, labels and scores, whatever their order."""
    boxes, labels, scores = (torch.as_tensor(found[name]) for name in ("boxes", "labels", "scores"))
    assert len(scores) == len(expected["scores"]) > 0
    scale = torch.tensor([*size, *size])
    distance = (boxes[None] / scale - expected["boxes"][:, None] / scale).abs().amax(dim=2)  # (expected, found)
    distance = distance.maximum((scores - expected["scores"][:, None]).abs())
    distance[torch.tensor(SLOTS)[labels] != expected["labels"][:, None]] = torch.inf
    for axis in (0, 1):
        assert distance.amin(dim=axis).max() < atol


@pytest.mark.parametrize("name", ONE_AND_ALL)
def test_same_detections_as_torchvision(name: str, theirs: nn.Module, ours: peers.Detector) -> None:
    """From images of the network's size, which neither side resizes."""
    network = TorchNetwork(ours.model, make_batch_transform(ours.config, is_train=False))
    predictor = Predictor(network, (300, 300), [str(number) for number in range(81)])
    image = resize_image(IMAGES[name], (300, 300))
    found = predictor(image)
    expected = detect(theirs, image)
    assert len(expected["labels"].unique()) > 2
    check_same(vars(found), expected, (300, 300), 1e-4)


@pytest.mark.parametrize("name", ONE_AND_ALL)
def test_same_detections_but_for_rounded_pixels(name: str, theirs: nn.Module, ours: peers.Detector) -> None:
    """torchvision does not round resized pixels. With those, all the way to boxes in the image is the same."""
    height, width = IMAGES[name].shape[:2]
    pixels = torch.from_numpy(resize_image(IMAGES[name].astype(np.float32), (300, 300))).permute(2, 0, 1)
    mean = torch.tensor(ours.config.INPUT.PIXEL_MEAN)[:, None, None]
    with torch.no_grad():
        (found,) = ours.model((pixels - mean)[None])
    check_same(found.resize((width, height)), detect(theirs, IMAGES[name]), (width, height), 1e-3)


@pytest.mark.parametrize("name", IMAGES)
def test_resized_pixels_differ_by_rounding(name: str) -> None:
    ours = torch.from_numpy(resize_image(IMAGES[name], (300, 300))).permute(2, 0, 1).float()
    image = torch.from_numpy(IMAGES[name]).permute(2, 0, 1).float()
    theirs = F.interpolate(image[None], size=(300, 300), mode="bilinear", align_corners=False)[0]
    assert (ours - theirs).abs().max() < 0.8  # 0.5, and OpenCV's weights of 11 bits
    assert (ours - theirs).abs().mean() < 0.3  # rounded numbers are off by a quarter


def test_restored_is_the_file_that_was_converted(theirs: nn.Module, ours: peers.Detector) -> None:
    weights = theirs.state_dict()
    restored = restore(ours.model.state_dict(), ())
    assert restored.keys() == weights.keys()
    for name, value in weights.items():
        if "classification_head" not in name:
            assert torch.equal(restored[name], value)
        else:
            slots, expected = (tensor.unflatten(0, (-1, 91)) for tensor in (restored[name], value))
            assert torch.equal(slots[:, SLOTS], expected[:, SLOTS])
            assert slots[:, UNUSED].eq(-30 if name.endswith("bias") else 0).all()
    again = peers.convert(SOURCE, restored).weights
    assert [key for key, value in ours.model.state_dict().items() if not torch.equal(again[key], value)] == []


def test_other_networks_are_not_restored() -> None:
    with torch.device("meta"):
        for name in ("lufficc_vgg_ssd512_voc0712", "lufficc_mobilenet_v2_ssd320_voc0712"):
            with pytest.raises(CheckpointError, match="VGG16 with the six levels of SSD300 only"):
                restore(peers.meta_weights(name), ())


def as_told(config: Config) -> nn.Module:
    """A model of torchvision, built and set as the differences tell."""
    names: dict[str, Any] = {"torchvision": torchvision, "ssd300_vgg16": ssd300_vgg16}
    for told in differences(config):
        if match := re.search(r"(model(\.\w+)* = .+)", told):
            exec(match[1], names)
    return names["model"].eval()


def test_nothing_is_to_be_set_for_its_own() -> None:
    assert TARGET.differences is differences
    assert differences(peers.complete_config("interop/torchvision_ssd300_coco")) == []


def test_it_detects_as_a_detector_of_voc_when_set_as_told(ours: peers.Detector) -> None:
    """Other priors, classes, colours, size, variances and thresholds."""
    config = peers.complete_config(
        "vgg_ssd300_voc0712",
        *("MODEL.PRIORS.CLIP", "size", "TEST.CLIP_BOXES", True, "TEST.PRE_NMS_TOP_K", 50, "TEST.MAX_PER_IMAGE", 60),
        *("TEST.CONFIDENCE_THRESHOLD", 0.02, "TEST.NMS_THRESHOLD", 0.5, "MODEL.CENTER_VARIANCE", 0.2),
        *("INPUT.PIXEL_MEAN", [120, 110, 100], "INPUT.PIXEL_STD", [1.5, 2, 1], "INPUT.IMAGE_SIZE", 280),
    )
    some_classes = partial(take_values, num_values=81, indices=range(21))
    weights = with_headers(ours.model.state_dict(), rf"{CLS_HEADERS}\..+", some_classes)
    model = peers.build_detection_model(config).eval()
    model.load_state_dict(weights)
    theirs = as_told(config)
    theirs.load_state_dict(restore(weights, ()))

    image = resize_image(IMAGES["320x240"], (280, 280))
    pixels = make_batch_transform(config, is_train=False)(torch.from_numpy(image).permute(2, 0, 1)[None])
    with torch.no_grad():
        (found,) = model(pixels)
    expected = detect(theirs, image)
    expected["labels"] = torch.tensor(SLOTS)[expected["labels"]]  # these are no ids of COCO
    check_same(found, expected, (280, 280), 1e-4)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("MODEL.PRIORS.CLIP", False, "steps=[8, 16, 32, 64, 100, 300], clip=False)"),
        ("MODEL.PRIORS.CLIP", True, "their centres too"),
        ("MODEL.PRIORS.CENTERS", "map", "scales=[0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05])"),
        ("MODEL.PRIORS.MAX_SIZES", [45, 99, 153, 207, 250, 315], "has no priors like these"),
        ("MODEL.PRIORS.ASPECT_RATIOS", [[2], [[2, 0.4], 3], [2, 3], [2, 3], [2], [2]], "has no priors like these"),
        ("TEST.PRE_NMS_TOP_K", -1, "topk_candidates=1000000"),
        ("TEST.MAX_PER_IMAGE", -1, "detections_per_img=1000000"),
        ("TEST.CLIP_BOXES", False, "clips boxes to the image before NMS"),
        ("TEST.MAX_PER_CLASS", 20, "TEST.MAX_PER_CLASS is 20"),
    ],
)
def test_each_difference_is_told(key: str, value: Any, sentence: str) -> None:
    (told,) = differences(peers.complete_config("interop/torchvision_ssd300_coco", key, value))
    assert sentence in told
