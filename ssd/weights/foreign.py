"""Checkpoints of other projects, as if they were ours: converted, with the config that builds their network."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ssd.config import Config, load_config, parse_config
from ssd.config.shipped import shipped_config
from ssd.modeling.backbone import build_backbone
from ssd.modeling.detector.levels import build_levels, make_prior_box, nominal_strides
from ssd.structures.class_names import BACKGROUND, COCO_CLASSES, VOC_CLASSES
from ssd.structures.size import height_width
from ssd.utils.errors import CheckpointError, ConfigError
from ssd.weights.formats.reading import CheckpointContent, read_weights
from ssd.weights.formats.sources import convert, find_source
from ssd.weights.transfer import count_classes

logger = logging.getLogger(__name__)

# Classes, background first, by their number: those of the published detectors.
PUBLISHED_CLASSES = {len(names) + 1: (BACKGROUND, *names) for names in (VOC_CLASSES, COCO_CLASSES)}
# Keys beside those of the priors without which the same weights compute something else.
_KEYS_OF_NETWORK = (
    *("MODEL.BACKBONE.NAME", "MODEL.BOX_HEAD.NAME", "MODEL.BOX_HEAD.PREDICTOR"),
    *("MODEL.CENTER_VARIANCE", "MODEL.SIZE_VARIANCE", "INPUT.IMAGE_SIZE", "INPUT.PIXEL_MEAN", "INPUT.PIXEL_STD"),
)
_SAME_PRIORS = 1e-5  # relative to the image
_SAME_PIXELS = 0.01  # of mean and deviation


def read_detector(source: str, kind: str = "auto", class_names: Sequence[str] = ()) -> dict[str, Any]:
    """Read the checkpoint of a detector, and convert it if it is of another project.

    Args:
        source: a path or URL.
        kind: which project's, see ``ssd.weights.formats.sources``; "auto" = by the names of its tensors.
        class_names: of a foreign checkpoint, without background; empty = as the file says, else those of VOC or COCO if
            there are as many.

    Returns:
        The container of ``read_checkpoint``, with ``source``, where it was read from. A foreign one has the keys
        "config", "base" (the file in configs/ that this starts from), "converted_from" (its kind), "notes" (a list of
        sentences), and "class_names" if they are known.

    Raises:
        CheckpointError: the file is missing, damaged, of no known kind, or not what its kind should be.
        ConfigError: there is no such kind, or it has another number of classes.
        DownloadError: the URL cannot be fetched.
        MissingPackageError: it is a safetensors file, and that package is not installed.
    """
    checkpoint = read_weights(source)
    if kind == "auto" and _is_ours(checkpoint):
        return {**checkpoint.content, "model": checkpoint.weights, "source": source}
    return convert_foreign(checkpoint, kind, class_names)


def convert_foreign(checkpoint: CheckpointContent, kind: str, class_names: Sequence[str]) -> dict[str, Any]:
    """Convert a checkpoint; see ``read_detector``."""
    foreign = find_source(checkpoint, kind)
    converted = convert(checkpoint, foreign)
    count = count_classes(converted.weights)
    if count is None:
        raise CheckpointError(
            f"{checkpoint.source} was recognised as {foreign.title}, but has no headers of the first level; fetch it "
            "again"
        )
    known = tuple(class_names) or converted.class_names or PUBLISHED_CLASSES.get(count, ())[1:]
    if known and len(known) != count - 1:
        raise ConfigError(
            f"{checkpoint.source} ({foreign.title}) has {count - 1} classes, but {len(known)} names are given: "
            f"{', '.join(known)}. --classes or MODEL.WEIGHTS_CLASSES takes all of them, without the background"
        )
    overrides = ["MODEL.BACKBONE.PRETRAINED", False, "MODEL.NUM_CLASSES", count, "MODEL.WEIGHTS_CLASSES", known]
    cfg = load_config(shipped_config(converted.config), [*converted.overrides, *overrides])
    logger.info("Converted %s from %s", checkpoint.source, foreign.title)
    return {
        "model": converted.weights,
        "config": cfg.dump(),
        "base": converted.config,
        **({"class_names": [BACKGROUND, *known]} if known else {}),
        "converted_from": foreign.title,
        "notes": list(converted.notes),
        "source": checkpoint.source,
    }


def published_config(checkpoint: dict[str, Any]) -> str | None:
    """Return the config, as text, of a checkpoint of lufficc/SSD, which carries none; None if it is not theirs."""
    content = CheckpointContent(checkpoint["source"], checkpoint["model"], {})
    try:
        converted = convert_foreign(content, "lufficc", checkpoint.get("class_names", [])[1:])
    except CheckpointError:
        return None
    for note in converted["notes"]:
        logger.warning("%s: %s", checkpoint["source"], note)
    return converted["config"]


@contextmanager
def explained(checkpoint: dict[str, Any], *, is_other_network: bool = False) -> Iterator[None]:
    """Add to an error of the block, which loads a checkpoint, what it was converted from, if it was, and what to do.

    Args:
        checkpoint: see ``read_detector``.
        is_other_network: whether the config that it is loaded into is known to differ.
    """
    try:
        yield
    except CheckpointError as error:
        if "notes" not in checkpoint:
            raise
        remedy = (
            f"this config builds another network, and configs/{checkpoint['base']}.yaml that of the file: name it as "
            "_BASE_"
            if is_other_network
            else "the names are those that its tensors get here. If the file is as its author published it, it is a "
            "variant that is not known; else fetch it again"
        )
        raise CheckpointError(f"{error}\n  It was recognised as {checkpoint['converted_from']}; {remedy}") from error


def check_network(cfg: Config, checkpoint: dict[str, Any]) -> None:
    """Check that a config gives a converted checkpoint the network that it was trained in.

    Raises:
        ConfigError: a key differs; names them all.
    """
    if differences := network_differences(cfg, checkpoint):
        raise ConfigError(
            f"{checkpoint['source']} ({checkpoint['converted_from']}) was trained with other settings than this config "
            f"has: {'; '.join(differences)}. `ssd convert` writes the config that belongs to it"
        )


def network_differences(cfg: Config, checkpoint: dict[str, Any]) -> list[str]:
    """List what differs between a config and that of a converted checkpoint, in what its weights were trained for."""
    if "converted_from" not in checkpoint:
        return []
    trained = parse_config(checkpoint["config"], f"config in {checkpoint['source']}")
    differences = [
        f"{key} is {given}, there {there}"
        for key in _KEYS_OF_NETWORK
        if not _is_same(given := _value(cfg, key), there := _value(trained, key))
    ]
    if not differences:  # else the priors differ for that reason
        differences = _prior_differences(lay_priors(cfg), lay_priors(trained), trained)
    return differences


def _prior_differences(priors: Tensor, trained_priors: Tensor, trained: Config) -> list[str]:
    if priors.shape != trained_priors.shape:
        return [f"MODEL.PRIORS gives {len(priors)} priors, there {len(trained_priors)}"]
    distances = (priors - trained_priors).abs().amax(dim=1)
    if distances.amax() <= _SAME_PRIORS:
        return []
    pixels = distances.amax().item() * max(height_width(trained.INPUT.IMAGE_SIZE))
    layout = trained.MODEL.PRIORS
    keys = ("MIN_SIZES", "MAX_SIZES", "ASPECT_RATIOS", "STRIDES", "CENTERS", "CLIP")
    return [
        f"MODEL.PRIORS puts {int((distances > _SAME_PRIORS).sum())} priors elsewhere, by up to {pixels:.1f} pixels; "
        "there " + ", ".join(f"{key} {layout[key]}" for key in keys)
    ]


def with_levels(cfg: Config) -> Config:
    """Return a config with the keys that follow from its backbone, which computes nothing.

    Raises:
        ConfigError: See ``build_levels``.
    """
    with torch.device("meta"):
        levels = build_levels(cfg, build_backbone(cfg, pretrained=False))
    priors = {"FEATURE_MAPS": levels.feature_maps, "BOXES_PER_LOCATION": levels.boxes_per_location}
    if not cfg.MODEL.PRIORS.STRIDES:
        priors["STRIDES"] = [nominal_strides(levels.image_size, size) for size in levels.feature_maps]
    overrides = [item for name, values in priors.items() for item in (f"MODEL.PRIORS.{name}", values)]
    return cfg.with_overrides(["MODEL.BACKBONE.OUT_CHANNELS", tuple(levels.channels), *overrides])


def lay_priors(cfg: Config) -> Tensor:
    """Return the priors (P, 4) of a config, centre form relative to the image; its backbone computes nothing.

    Raises:
        ConfigError: See ``build_levels``.
    """
    with torch.device("meta"):
        backbone = build_backbone(cfg, pretrained=False)
    return make_prior_box(cfg, build_levels(cfg, backbone))()


def _value(cfg: Config, key: str) -> Any:
    value: Any = cfg
    for part in key.split("."):
        value = value[part]
    return list(height_width(value)) if key == "INPUT.IMAGE_SIZE" else value


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(abs(a - b) <= _SAME_PIXELS for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _is_ours(checkpoint: CheckpointContent) -> bool:
    """Whether the names of its tensors are those of SSDDetector, or it carries what all of our checkpoints carry."""
    is_signed = {"config", "class_names"} <= checkpoint.content.keys()
    return is_signed or any(name.startswith("box_head.") for name in checkpoint.weights)
