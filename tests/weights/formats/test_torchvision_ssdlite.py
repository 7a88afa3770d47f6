"""torchvision's SSDLite against its recording, and side by side with the installed torchvision, from image to boxes."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import MobileNet_V3_Large_Weights, mobilenet_v3_large
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights, ssdlite320_mobilenet_v3_large

import ssd
from ssd.data.samples import resize_image
from ssd.inference.predictor import Predictor
from ssd.weights.formats.torchvision import NUM_SLOTS, SLOTS
from tests.weights.formats import peers

NAME = "torchvision_ssdlite320_mobilenet_v3_large"
LISTING = f"{NAME}_coco"
CATEGORIES = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta["categories"]
UNUSED_SLOTS = sorted(set(range(NUM_SLOTS)) - set(SLOTS))
SIZE = 320
NUM_COMPARED = 250  # of 300 detections: the last may change places with those that are cut off


def test_slots_are_the_categories_of_torchvision() -> None:
    assert [slot for slot, name in enumerate(CATEGORIES) if name == "N/A"] == UNUSED_SLOTS


@pytest.fixture(scope="module")
def scenes() -> list[np.ndarray]:
    """Images of three shapes, RGB uint8."""
    images = [cv2.imread(str(peers.ROOT / "demo" / f"scene_{number}.jpg"))[..., ::-1] for number in (2, 3, 6)]
    first, second, third = (np.ascontiguousarray(image) for image in images)
    return [first, np.ascontiguousarray(second[:, 60:210]), cv2.resize(third, (500, 230))]


@pytest.fixture(scope="module")
def theirs(scenes: list[np.ndarray]) -> nn.Module:
    """torchvision's detector with random weights, whose scores spread."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    randomise(model, np.stack([resize_image(scene, (SIZE, SIZE)) for scene in scenes]))
    with torch.no_grad():
        for header in model.head.classification_head.module_list:
            header[1].weight *= 3
            scores = header[1].bias.view(-1, NUM_SLOTS)
            scores[:, UNUSED_SLOTS], scores[:, 0] = -30, 3
    return model


@torch.no_grad()
def randomise(model: nn.Module, images: np.ndarray) -> None:
    """Random weights, under which the statistics of batch norms are those of the images: no layer fades."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 4:
            parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
        elif name.endswith("bias"):
            parameter.normal_(0, 0.1, generator=generator)
        else:
            parameter.uniform_(0.5, 1.5, generator=generator)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics of one pass
            module.reset_running_stats()
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
    model.head.train()(list(model.backbone.train()(pixels).values()))
    model.eval()


@pytest.fixture(scope="module")
def ours(theirs: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    file = tmp_path_factory.mktemp("torchvision") / "ssdlite.pth"
    torch.save(theirs.state_dict(), file)
    return ssd.init_detector(file, device="cpu")


def test_image_of_the_networks_size(theirs: nn.Module, ours: Predictor, scenes: list[np.ndarray]) -> None:
    for scene in scenes:
        image = resize_image(scene, (SIZE, SIZE))
        check_same(ours(image), detect(theirs, image))


def test_image_of_any_size(theirs: nn.Module, ours: Predictor, scenes: list[np.ndarray], tmp_path: Path) -> None:
    """But for the rounding of resized pixels, see below: both get the same."""
    for index, scene in enumerate(scenes):
        cv2.imwrite(str(tmp_path / f"{index}.png"), scene[..., ::-1])
    for scene, found in zip(scenes, ours.predict(tmp_path), strict=True):
        expected = detect(theirs, resize_image(scene, (SIZE, SIZE)))
        height, width = scene.shape[:2]
        expected["boxes"] *= torch.tensor([width, height, width, height]) / SIZE
        check_same(found, expected)


@torch.no_grad()
def detect(model: nn.Module, image: np.ndarray) -> dict[str, Tensor]:
    return model([torch.from_numpy(image).permute(2, 0, 1) / 255])[0]


def check_same(found: ssd.Detections, expected: dict[str, Tensor]) -> None:
    """The best of torchvision's detections are among ours: name, box relative to the image and score within 1e-3."""
    boxes, labels, scores = (expected[key][:NUM_COMPARED].numpy() for key in ("boxes", "labels", "scores"))
    assert len(found.scores) == len(expected["scores"]) == 300
    assert len(set(labels.tolist())) > 20
    assert scores.min() < 0.9
    np.testing.assert_allclose(found.scores[:NUM_COMPARED], scores, rtol=0, atol=1e-3)
    height, width = found.orig_size
    distances = np.abs(found.boxes[None] - boxes[:, None]) / np.array([width, height, width, height])
    names = np.array(found.class_names)[found.labels]
    is_same = (distances.max(axis=2) < 1e-3) & (np.abs(found.scores - scores[:, None]) < 1e-3)
    is_same &= names == np.array(CATEGORIES)[labels][:, None]
    assert is_same.any(axis=1).all()


def test_torchvision_does_not_round_resized_pixels(scenes: list[np.ndarray]) -> None:
    for scene in scenes:
        pixels = torch.from_numpy(scene).permute(2, 0, 1)[None].float()
        resized = F.interpolate(pixels, size=(SIZE, SIZE), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
        difference = (torch.from_numpy(resize_image(scene, (SIZE, SIZE))) - resized).abs()
        assert 0 < difference.max() < 0.9
        assert difference.mean() < 0.3


@torch.no_grad()
def test_whole_tail_and_classes_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where torchvision's detector is trained from the backbone of ImageNet on four classes."""
    pretrained = mobilenet_v3_large(weights=None).state_dict()
    monkeypatch.setattr(MobileNet_V3_Large_Weights, "get_state_dict", lambda *args, **kwargs: pretrained)
    model = ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=MobileNet_V3_Large_Weights.IMAGENET1K_V1, num_classes=4
    )
    images = np.random.RandomState(0).randint(256, size=(2, SIZE, SIZE, 3)).astype(np.uint8)
    randomise(model, images)
    converted = peers.convert(model.state_dict())
    assert converted.notes == ()
    detector = peers.build(converted)
    assert (detector.config.MODEL.BACKBONE.NAME, detector.config.MODEL.NUM_CLASSES) == ("mobilenet_v3_ssdlite", 4)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
    expected = model.head(list(model.backbone(pixels).values()))
    cls_logits, bbox_pred = detector.model.predict(pixels)
    for found, name in ((cls_logits, "cls_logits"), (bbox_pred, "bbox_regression")):
        assert expected[name].std() > 0.1
        torch.testing.assert_close(found, expected[name], rtol=1e-3, atol=1e-3)
