"""torchvision's ssd300_vgg16 and SSDLite: classes, and detections side by side with the installed torchvision."""

from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import MobileNet_V3_Large_Weights, mobilenet_v3_large
from torchvision.models.detection import (
    SSDLite320_MobileNet_V3_Large_Weights,
    ssd300_vgg16,
    ssdlite320_mobilenet_v3_large,
)

import ssd
from ssd.data.samples import resize_image
from ssd.inference.predictor import Predictor
from ssd.structures.class_names import COCO_CLASSES
from tests.weights.formats import peers

LISTING = "torchvision_ssd300_vgg16_coco"
CATEGORIES = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta["categories"]  # by label
UNUSED = [slot for slot, name in enumerate(CATEGORIES) if name == "N/A"]
SLOTS = [slot for slot in range(91) if slot not in UNUSED]


def read_scene(number: int) -> np.ndarray:
    """One of the sample images, RGB (240, 320, 3)."""
    return cv2.cvtColor(cv2.imread(str(peers.ROOT / "demo" / f"scene_{number}.jpg")), cv2.COLOR_BGR2RGB)


SCENES = [read_scene(2), np.ascontiguousarray(read_scene(3)[:, 60:210]), cv2.resize(read_scene(6), (500, 230))]


def test_91_slots_are_the_81_classes_of_coco() -> None:
    assert len(UNUSED) == 10
    shapes = {name: shape for name, shape in peers.read_shapes(LISTING).items() if ".features." not in name}
    weights = peers.fill_faster(shapes)
    converted = peers.convert(weights)
    assert (converted.class_names, "category id" in converted.notes[0]) == (COCO_CLASSES, True)
    peers.check_slots(converted, weights, "head.classification_head.module_list", 91, SLOTS)


@pytest.mark.parametrize("num_classes", [3, 21, 81])
def test_classes_of_ones_own_stay(num_classes: int) -> None:
    converted = peers.convert(peers.meta_weights(LISTING, {r"head\.classification": (91, num_classes)}))
    assert (converted.class_names, converted.notes) == (None, ())
    assert peers.count_built_classes(converted) == num_classes


class Pair(NamedTuple):
    """A detector of torchvision and ours of its file."""

    theirs: nn.Module
    ours: Predictor
    size: int  # of the input in pixels
    num_compared: int  # the last of 300 may change places with those that are cut off
    atol: float  # of scores, and of boxes relative to the image


@pytest.fixture(scope="module", params=["ssd300", "ssdlite"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    theirs, size = (make_ssd300(), 300) if request.param == "ssd300" else (make_ssdlite(), 320)
    file = tmp_path_factory.mktemp("torchvision") / f"{request.param}.pth"
    torch.save(theirs.state_dict(), file)
    num_compared, atol = (10**6, 1e-4) if request.param == "ssd300" else (250, 1e-3)
    return Pair(theirs, ssd.init_detector(file, device="cpu"), size, num_compared, atol)


def make_ssd300() -> nn.Module:
    """Spread scores, a likely background, and no scores of slots without a class, as in a trained detector."""
    model = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=91).eval()
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert shapes == peers.read_shapes(LISTING)
    weights = peers.fill_faster(shapes)
    for name, value in weights.items():
        if "classification_head" in name:
            value *= 2.3
            if name.endswith("bias"):
                scores = value.unflatten(0, (-1, 91))
                scores[:, 0] += 5
                scores[:, UNUSED] = -30
    model.load_state_dict(weights)
    return model


def make_ssdlite() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    randomise(model, np.stack([resize_image(scene, (320, 320)) for scene in SCENES]))
    with torch.no_grad():
        for header in model.head.classification_head.module_list:
            header[1].weight *= 3
            scores = header[1].bias.view(-1, 91)
            scores[:, UNUSED], scores[:, 0] = -30, 3
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


def test_detections_in_images_of_any_size(pair: Pair, tmp_path) -> None:
    """Both networks get the same pixels: torchvision does not round resized ones."""
    for index, scene in enumerate(SCENES):
        image = resize_image(scene, (pair.size, pair.size))
        expected = detect(pair.theirs, image)
        check_same(pair.ours.predict([image], score_threshold=0.0)[0], expected, pair)
        cv2.imwrite(str(tmp_path / f"{index}.png"), scene[..., ::-1])
        (found,) = pair.ours.predict(tmp_path / f"{index}.png", score_threshold=0.0)
        height, width = scene.shape[:2]
        expected["boxes"] *= torch.tensor([width, height, width, height]) / pair.size
        check_same(found, expected, pair)


@torch.no_grad()
def detect(model: nn.Module, image: np.ndarray) -> dict[str, Tensor]:
    return model([torch.from_numpy(image).permute(2, 0, 1) / 255])[0]


def check_same(found: ssd.Detections, expected: dict[str, Tensor], pair: Pair) -> None:
    """The best of torchvision's detections are among ours, with the same name, box and score."""
    boxes, labels, scores = (expected[key][: pair.num_compared].numpy() for key in ("boxes", "labels", "scores"))
    assert len(found.scores) == len(expected["scores"]) > 0
    assert len(set(labels.tolist())) > 2
    np.testing.assert_allclose(found.scores[: pair.num_compared], scores, rtol=0, atol=pair.atol)
    height, width = found.orig_size
    distances = np.abs(found.boxes[None] - boxes[:, None]) / np.array([width, height, width, height])
    names = np.array(found.class_names)[found.labels]
    is_same = (distances.max(axis=2) < pair.atol) & (np.abs(found.scores - scores[:, None]) < pair.atol)
    is_same &= names == np.array(CATEGORIES)[labels][:, None]
    assert is_same.any(axis=1).all()


@torch.no_grad()
def test_ssdlite_with_whole_tail_and_classes_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where torchvision's detector is trained from the backbone of ImageNet on four classes."""
    pretrained = mobilenet_v3_large(weights=None).state_dict()
    monkeypatch.setattr(MobileNet_V3_Large_Weights, "get_state_dict", lambda *args, **kwargs: pretrained)
    backbone = MobileNet_V3_Large_Weights.IMAGENET1K_V1
    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=backbone, num_classes=4)
    images = np.random.RandomState(0).randint(256, size=(2, 320, 320, 3)).astype(np.uint8)
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
