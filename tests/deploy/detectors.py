"""Detectors that find many objects without a training, images for them, and the comparison of detections."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from ssd.config import Config, load_config
from ssd.data import make_batch_transform
from ssd.data.samples import resize_image
from ssd.modeling.box_head.box_predictor import last_conv
from ssd.modeling.detector import SSDDetector, build_detection_model
from ssd.structures import Container
from ssd.structures.boxes import height_width
from ssd.tools.data.scenes import render_scene
from ssd.utils.image import read_image

ROOT = Path(__file__).parents[2]
NAMES = ("__background__", "a", "b", "c", "d")


def make_small_config(*overrides: object) -> Config:
    """Build the config of a detector that exports in seconds."""
    small = [
        *("MODEL.BACKBONE.NAME", "tiny", "MODEL.BACKBONE.PRETRAINED", False, "MODEL.NUM_CLASSES", len(NAMES)),
        *("INPUT.IMAGE_SIZE", (96, 128), "INPUT.PIXEL_STD", [58, 57, 57]),
        *("MODEL.PRIORS.MIN_SIZES", [12, 28, 48, 70], "MODEL.PRIORS.MAX_SIZES", [28, 48, 70, 90]),
        *("MODEL.PRIORS.ASPECT_RATIOS", [[2], [2], [2], [2]]),
    ]
    return load_config(None, [*small, *overrides])


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


TIE = 2e-5  # scores within this may come in any order


def assert_same(
    config: Config, found: Sequence[Container], expected: Sequence[Container], least: int = 1
) -> tuple[float, float]:
    """Check that detections are the same in the same order, up to ties, and that some image has ``least`` of them.

    Returns the largest difference of a box in pixels, and of a score.
    """
    assert max(len(image["scores"]) for image in expected) >= least
    box, score = 0.0, 0.0
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.img_width, ours.img_height) == (theirs.img_width, theirs.img_height)
        rows, columns = _match(ours, theirs)
        _check_alone(config, _without(ours, rows), _without(theirs, columns), _cut(config, ours))
        _check_alone(config, _without(theirs, columns), _without(ours, rows), _cut(config, theirs))
        is_swapped = (rows[:, None] < rows) != (columns[:, None] < columns)
        scores = theirs["scores"][columns]
        assert not ((scores[:, None] - scores).abs()[is_swapped] > TIE).any()
        box = max([box, *(ours["boxes"][rows] - theirs["boxes"][columns]).abs().flatten().tolist()])
        score = max([score, *(ours["scores"][rows] - scores).abs().tolist()])
    return box, score


def _match(ours: Container, theirs: Container) -> tuple[Tensor, Tensor]:
    """Pair detections of one class within 0.1 pixels and 1e-3 of score, each with the nearest in the order."""
    pairs: dict[int, int] = {}
    for column in range(len(theirs["scores"])):
        is_same = ours["labels"] == theirs["labels"][column]
        is_same &= (ours["boxes"] - theirs["boxes"][column]).abs().amax(dim=1) <= 0.1
        is_same &= (ours["scores"] - theirs["scores"][column]).abs() <= 1e-3
        rows = set(is_same.nonzero().flatten().tolist()) - set(pairs)
        if rows:
            pairs[min(rows, key=lambda row: abs(row - column))] = column
    return torch.tensor(list(pairs), dtype=torch.int64), torch.tensor(list(pairs.values()), dtype=torch.int64)


def _without(detections: Container, matched: Tensor) -> Container:
    """Return the detections without a partner."""
    is_alone = torch.ones_like(detections["scores"], dtype=torch.bool)
    is_alone[matched] = False
    return Container(**{name: detections[name][is_alone] for name in detections})


def _cut(config: Config, detections: Container) -> float:
    """Return the score below which nothing is kept."""
    is_full = len(detections["scores"]) == config.TEST.MAX_PER_IMAGE
    return float(detections["scores"][-1]) if is_full else config.TEST.CONFIDENCE_THRESHOLD


def _check_alone(config: Config, alone: Container, others: Container, lowest: float) -> None:
    """Check that detections without a partner are just above the cut, or suppressed by a tie of ``others``."""
    is_rival = box_iou(alone["boxes"].double(), others["boxes"].double()) > config.TEST.NMS_THRESHOLD
    is_rival &= alone["labels"][:, None] == others["labels"]
    is_rival &= others["scores"] >= alone["scores"][:, None] - TIE
    is_excused = is_rival.any(dim=1) | (alone["scores"] - lowest <= TIE)
    assert is_excused.all(), f"without a partner: {alone}"
