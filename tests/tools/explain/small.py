"""A small detector of random weights that finds much, and an image with four objects."""

import numpy as np
import torch
from torch import nn

from ssd.config import Config, load_config
from ssd.inference.api import make_predictor
from ssd.inference.predictor import Predictor
from ssd.modeling.detector import build_detection_model
from ssd.weights.loaded_checkpoint import LoadedCheckpoint

SETTINGS = [
    *("MODEL.BACKBONE.NAME", "tiny", "MODEL.BACKBONE.PRETRAINED", False, "INPUT.IMAGE_SIZE", (64, 96)),
    *("MODEL.PRIORS.MIN_SIZES", [12, 28, 48, 70], "MODEL.PRIORS.MAX_SIZES", [28, 48, 70, 90]),
    *("MODEL.PRIORS.ASPECT_RATIOS", [[2], [2, 3], [2], [2]], "MODEL.NUM_CLASSES", 4, "MODEL.DEVICE", "cpu"),
]
CLASS_NAMES = ("__background__", "cat", "dog", "snow leopard")
WIDTH, HEIGHT = 192, 160  # twice the network's, and 2.5 times
BOXES = np.array([[20, 20, 60, 70], [90.0, 10, 190, 150], [100, 100, 103, 103], [150, 110, 188, 158]])
LABELS = np.array([1, 2, 3, 1])


def make_model(*overrides: object) -> tuple[nn.Module, Config]:
    """Build a detector of random weights, the same in every call, and its config."""
    cfg = load_config(None, [*SETTINGS, *overrides])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_detection_model(cfg, pretrained=False)
        predictor = model.box_head.predictor
        for cls_header, reg_header in zip(predictor.cls_headers, predictor.reg_headers, strict=True):
            nn.init.normal_(cls_header.weight, std=0.03)
            nn.init.zeros_(cls_header.bias)
            nn.init.normal_(reg_header.weight, std=0.02)
    return model, cfg


def make_detector(*overrides: object) -> Predictor:
    """A detector of these weights."""
    model, cfg = make_model(*overrides)
    return make_predictor(cfg, LoadedCheckpoint(model.state_dict(), "test"), CLASS_NAMES, torch.device("cpu"))


def make_image() -> np.ndarray:
    """Four rectangles on grey, with noise: RGB uint8 (HEIGHT, WIDTH, 3)."""
    rng = np.random.default_rng(0)
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for (x1, y1, x2, y2), color in zip(BOXES.astype(int), rng.integers(0, 256, (4, 3)), strict=True):
        image[y1:y2, x1:x2] = color
    return image ^ rng.integers(0, 16, image.shape, np.uint8)
