"""torchvision's ssd300_vgg16: classes, and detections side by side with the installed torchvision."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import ssd300_vgg16

from ssd.data import make_batch_transform
from ssd.data.samples import resize_image
from ssd.inference.predictor import Predictor
from ssd.inference.torch_network import TorchNetwork
from ssd.structures import Container
from ssd.structures.class_names import COCO_CLASSES
from tests.weights.formats import peers

LISTING = "torchvision_ssd300_vgg16_coco"
UNUSED = [12, 26, 29, 30, 45, 66, 68, 69, 71, 83]
SLOTS = [slot for slot in range(91) if slot not in UNUSED]


def test_91_slots_are_the_81_classes_of_coco() -> None:
    shapes = {name: shape for name, shape in peers.read_shapes(LISTING).items() if ".features." not in name}
    weights = peers.fill_faster(shapes)
    converted = peers.convert(weights)
    assert (converted.class_names, "category id" in converted.notes[0]) == (COCO_CLASSES, True)
    for level, num_priors in enumerate((4, 6, 6, 6, 4, 4)):
        for kind in ("weight", "bias"):
            theirs = weights[f"head.classification_head.module_list.{level}.{kind}"].unflatten(0, (num_priors, 91))
            ours = converted.weights[f"box_head.predictor.cls_headers.{level}.{kind}"]
            assert torch.equal(ours.unflatten(0, (num_priors, 81)), theirs[:, SLOTS])


@pytest.mark.parametrize("num_classes", [3, 21, 81])
def test_classes_of_ones_own_stay(num_classes: int) -> None:
    weights = peers.meta_weights(LISTING, {r"head\.classification": (91, num_classes)})
    converted = peers.convert(weights)
    assert (converted.class_names, converted.notes) == (None, ())
    with torch.device("meta"):
        model = peers.build(converted).config.MODEL
    assert num_classes == model.NUM_CLASSES


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
    return peers.build(peers.convert(theirs.state_dict()))


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
