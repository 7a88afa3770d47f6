"""The weights that a training starts from, and the recipe that suits them. B images."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssd.config import Config, load_config
from ssd.data.datasets import DetectionDataset
from ssd.data.samples import ResizedSamples, collate_test
from ssd.modeling.backbone import build_backbone
from ssd.modeling.backbone.mobilenetv2 import PRETRAINED_URL  # of the backbone of IMAGENET
from ssd.structures.boxes import height_width
from ssd.utils.errors import CheckpointError
from ssd.utils.model_zoo import find_cached
from ssd.weights.trained import own_config, read_detector

# Configs that a plan derives from: of the schedule, augmentation and, but for a detector, the network.
IMAGENET = "modern/own_data.yaml"
RANDOM = "modern/own_data_random.yaml"
DETECTOR = "modern/own_data_detector.yaml"

_MEAN_ONLY = ([123, 117, 104], [1, 1, 1])  # pixels of other files: less the mean, and not divided
_NUM_IMAGES = 8  # that the scale of pixels is measured on


@dataclass(frozen=True)
class Start:
    """Where a training starts."""

    recipe: str  # config to derive from
    text: str  # the weights, and why these
    overrides: tuple[Any, ...] = ()


def choose_start(source: str | None) -> Start:
    """Return the start from a file, URL or name of `ssd models`, of a detector or of a backbone trained on ImageNet.

    None = the ImageNet weights of the recipe if they are in the cache, else random weights.
    """
    if source is None:
        cached = find_cached(PRETRAINED_URL)
        if cached is not None:
            return Start(IMAGENET, f"ImageNet weights in the cache, {cached} (no --start was given)")
        file = os.path.basename(PRETRAINED_URL)
        return Start(RANDOM, f"random weights: no --start was given, and {file} is not in the cache")
    path = Path(source).expanduser()
    source = str(path.resolve()) if path.exists() else source
    try:
        checkpoint = read_detector(source)
    except CheckpointError as error:
        try:
            build_backbone(load_config(IMAGENET), source)
        except CheckpointError:
            raise error from None
        return Start(IMAGENET, f"a trained backbone, {source}", ("MODEL.BACKBONE.PRETRAINED", source))
    if checkpoint.num_classes is None:
        raise CheckpointError(f"--start {source} is neither a detector nor weights of the backbone of {IMAGENET}")
    own = own_config(checkpoint)
    model = own.MODEL.clone()
    model.defrost()
    model.update(WEIGHTS=source, WEIGHTS_EXCLUDE=(), NUM_CLASSES=0, DEVICE="auto")
    model.BACKBONE.update(PRETRAINED=False, FREEZE_STAGES=0, FREEZE_BATCH_NORMS=False)
    pixels = {f"INPUT.{key}": own.INPUT[key] for key in ("IMAGE_SIZE", "PIXEL_MEAN", "PIXEL_STD")}
    text = f"a detector of {checkpoint.num_classes - 1} classes, {source}; its network and priors stay"
    return Start(DETECTOR, text, ("MODEL", model, *chain.from_iterable(pixels.items())))


def choose_pixels(cfg: Config, dataset: DetectionDataset) -> list[Any]:
    """Return overrides of INPUT.PIXEL_MEAN and PIXEL_STD for weights of a backbone that expect other pixels; or none.

    The first batch norm of the weights has the variances of its inputs; those of images tell which pixels they were.
    """
    backbone = build_backbone(cfg, cfg.MODEL.BACKBONE.PRETRAINED)
    conv = next((layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d)), None)
    norm = next((layer for layer in backbone.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)), None)
    if conv is None or norm is None or norm.running_var is None or len(norm.running_var) != conv.out_channels:
        return []
    samples = ResizedSamples(dataset, height_width(cfg.INPUT.IMAGE_SIZE))
    images = collate_test([samples[row] for row in range(min(_NUM_IMAGES, len(samples)))])[0].float()
    own = (cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD)
    misfits = [_misfit(images, conv, norm.running_var, *pixels) for pixels in (own, _MEAN_ONLY)]
    if misfits[0] <= misfits[1]:
        return []
    return ["INPUT.PIXEL_MEAN", _MEAN_ONLY[0], "INPUT.PIXEL_STD", _MEAN_ONLY[1]]


@torch.no_grad()
def _misfit(images: Tensor, conv: nn.Conv2d, variances: Tensor, mean: Sequence[float], std: Sequence[float]) -> float:
    """Return the median factor, as a logarithm, between the variances of a layer on images and stored ones."""
    mean_, std_ = (torch.tensor(list(values), dtype=torch.float32)[:, None, None] for values in (mean, std))
    found = conv((images - mean_) / std_).var(dim=(0, 2, 3))
    return (found.clamp(min=1e-9) / variances.clamp(min=1e-9)).log().abs().median().item()
