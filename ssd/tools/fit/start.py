"""The weights that a training starts from, and the recipe that suits them."""

import os
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ssd.config import load_config
from ssd.modeling.backbone import build_backbone
from ssd.modeling.backbone.mobilenetv2 import PRETRAINED_URL  # of the backbone of IMAGENET
from ssd.utils.errors import CheckpointError
from ssd.utils.model_zoo import find_cached
from ssd.weights.trained import own_config, read_detector

# Configs that a plan derives from: of the schedule, augmentation and, but for a detector, the network.
IMAGENET = "modern/own_data.yaml"
RANDOM = "modern/own_data_random.yaml"
DETECTOR = "modern/own_data_detector.yaml"


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
