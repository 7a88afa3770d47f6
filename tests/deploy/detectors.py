"""Detectors that find many objects without a training, images for them, and the comparison of detections."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssd.config import Config, load_config
from ssd.data import make_batch_transform
from ssd.data.samples import resize_image
from ssd.deploy.parity import Cut, ParityCheck, compare_all
from ssd.inference.detections import Detections
from ssd.modeling.box_head.box_predictor import last_conv
from ssd.modeling.detector import SSDDetector, build_detection_model
from ssd.structures import Container
from ssd.structures.boxes import height_width
from ssd.tools.data.scenes import render_scene
from ssd.utils.image import read_image
from tests.conftest import SMALL_MODEL

ROOT = Path(__file__).parents[2]
NAMES = ("__background__", "a", "b", "c", "d")


def make_small_config(*overrides: object) -> Config:
    """Build the config of a detector that exports in seconds."""
    return load_config(None, [*SMALL_MODEL, "MODEL.NUM_CLASSES", len(NAMES), *overrides])


@torch.no_grad()
def make_detector(config: Config) -> SSDDetector:
    """Build the detector of a config; scores and boxes depend on the image, and vary widely."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_detection_model(config, pretrained=False).eval()
    features = model.neck(model.backbone(normalize(config, make_batch(config, 2))))
    predictor: Any = model.box_head.predictor
    for level, feature in enumerate(features):
        for header, spread in ((predictor.cls_headers[level], 1.5), (predictor.reg_headers[level], 1.0)):
            conv = last_conv(header)[1]
            assert conv.bias is not None
            conv.bias.zero_()
            conv.weight *= spread / header(feature).std()
    for header in predictor.cls_headers:
        last_conv(header)[1].bias.unflatten(0, (-1, config.MODEL.NUM_CLASSES))[:, 0] = 8.0
    return model


def make_batch(config: Config, count: int) -> Tensor:
    """Return the demo images, then rendered scenes, at the size of the input, uint8 (B, 3, S_h, S_w)."""
    images = [read_image(path) for path in sorted((ROOT / "demo").glob("*.jpg"))[:count]]
    images += [render_scene(0, number, (320 + 40 * number, 240))[0] for number in range(count - len(images))]
    size = height_width(config.INPUT.IMAGE_SIZE)
    return torch.from_numpy(np.stack([resize_image(image, size) for image in images])).permute(0, 3, 1, 2).contiguous()


def normalize(config: Config, images: Tensor) -> Tensor:
    return make_batch_transform(config, is_train=False)(images)


@torch.inference_mode()
def detect(config: Config, model: SSDDetector, images: Tensor) -> list[Container]:
    """Return the detections of PyTorch in a batch of ``make_batch``."""
    return model.eval()(normalize(config, images))


def assert_same(config, found, expected, least=1):
    """Check that detections are the same, best first, up to the cut, and that some image has ``least`` of them.

    Returns the largest difference of a box in pixels, and of a score.
    """
    assert max(len(image["scores"]) for image in expected) >= least
    assert all((image["scores"].diff() <= 0).all() for image in found)
    limit = config.TEST.MAX_PER_IMAGE if config.TEST.MAX_PER_IMAGE >= 0 else sys.maxsize
    reference, other = ([_to_detections(config, image) for image in images] for images in (expected, found))
    cut = Cut(config.TEST.CONFIDENCE_THRESHOLD, limit)
    parity = ParityCheck("", 1, compare_all(reference, other, cut))
    assert not parity.different
    totals = parity.totals()
    return totals["box_difference"], totals["score_difference"]


def _to_detections(config: Config, found: Container) -> Detections:
    names = tuple(map(str, range(config.MODEL.NUM_CLASSES)))
    boxes, labels, scores = (found[name].numpy() for name in ("boxes", "labels", "scores"))
    return Detections(boxes, labels, scores, names, (found.img_width, found.img_height))
