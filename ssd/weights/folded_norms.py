"""Statistics for batch norms that a file has folded into their convolutions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from ssd.modeling.detector import SSDDetector
from ssd.modeling.layers import BatchNorm2d
from ssd.structures.boxes import height_width
from ssd.utils.image import image_names, read_image

_BATCH_SIZE = 8


def folded_norms(model: nn.Module) -> list[BatchNorm2d]:
    """Return the batch norms of a model that are folded into their convolutions."""
    return [layer for layer in model.modules() if isinstance(layer, BatchNorm2d) and layer.is_folded]


@torch.no_grad()
def estimate_norms(model: SSDDetector, cfg: CfgNode, folder: Path) -> None:
    """Set the statistics of folded norms to those of images, and weights and biases so that outputs are the same."""
    norms = folded_norms(model)
    # Number, sum and sum of squares; in float64, since their difference is the variance.
    sums = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms}

    def add(layer: Any, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].double().transpose(0, 1).flatten(1)  # (C, B * H * W)
        sums[layer] += torch.stack([torch.ones_like(values), values, values.square()]).sum(dim=2)

    hooks = [norm.register_forward_pre_hook(add) for norm in norms]
    try:
        for images in _read_batches(cfg, folder):
            model.predict(images)
    finally:
        for hook in hooks:
            hook.remove()
    for norm, (count, total, squares) in sums.items():
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0).float()
        norm.bias.add_(norm.weight * mean.float())
        norm.weight.mul_((variance + norm.eps).sqrt())
        norm.running_mean, norm.running_var = mean.float(), variance


def _read_batches(cfg: CfgNode, folder: Path) -> Iterator[Tensor]:
    """Yield normalised images (B, 3, H, W) of a folder, at the size of the network."""
    names, (height, width) = image_names(folder), height_width(cfg.INPUT.IMAGE_SIZE)
    mean, std = (torch.tensor(values).float()[:, None, None] for values in (cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD))
    for start in range(0, len(names), _BATCH_SIZE):
        images = [read_image(folder / name) for name in names[start : start + _BATCH_SIZE]]
        pixels = np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) for image in images])
        yield (torch.from_numpy(pixels).permute(0, 3, 1, 2) - mean) / std
