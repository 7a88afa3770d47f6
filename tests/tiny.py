"""The smallest detector, of four levels and three classes, and a batch for it."""

import torch
from torch import Tensor, nn

from ssd.config import Config, load_config
from ssd.modeling.detector import SSDDetector, build_detection_model
from ssd.structures import Container

TINY = (
    *("MODEL.BACKBONE.NAME", "tiny", "MODEL.BACKBONE.PRETRAINED", False, "INPUT.IMAGE_SIZE", 96),
    *("MODEL.PRIORS.MIN_SIZES", [16, 32, 48, 64], "MODEL.PRIORS.MAX_SIZES", [32, 48, 64, 96]),
    *("MODEL.PRIORS.ASPECT_RATIOS", [[2], [2], [2], [2]], "MODEL.NUM_CLASSES", 4),
)


def tiny_config(*overrides: object) -> Config:
    return load_config(None, [*TINY, *overrides])


def tiny_detector(*overrides: object) -> SSDDetector:
    """Build the detector in training mode, or one of other settings."""
    return build_detection_model(tiny_config(*overrides)).train()


def steady_detector(*overrides: object) -> SSDDetector:
    """Build the same detector whenever it is called; its batch norms use their running statistics."""
    torch.manual_seed(0)
    model = tiny_detector(*overrides)
    for layer in model.modules():
        layer.train(not isinstance(layer, nn.BatchNorm2d))
    return model


def tiny_batch(size: int = 96, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Container]:
    """Six images and their objects; two have none."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(6, 3, 2, generator=generator) * 0.6
    boxes = torch.cat([corner, corner + 0.1 + 0.3 * torch.rand(6, 3, 2, generator=generator)], dim=2)
    labels = torch.tensor([[1, 2, 3], [0, 0, 0], [2, 0, 0], [1, 3, 0], [0, 0, 0], [3, 3, 3]])
    images = torch.randn(6, 3, size, size, generator=generator, dtype=dtype)
    return images, Container(boxes=boxes, labels=labels)
