"""Recognition and conversion of foreign checkpoints, and comparison of a config with the network of the file."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssd.config import Config, load_config, parse_config
from ssd.config.files import shipped_config
from ssd.modeling.backbone import build_backbone
from ssd.modeling.detector.levels import Levels, build_levels, make_prior_box
from ssd.modeling.neck import build_neck
from ssd.structures.boxes import height_width
from ssd.structures.class_names import BACKGROUND
from ssd.utils.errors import CheckpointError, ConfigError, join_some
from ssd.weights.formats import Converted, Format, all_formats
from ssd.weights.formats.layouts import count_classes
from ssd.weights.formats.reading import CheckpointContent
from ssd.weights.loaded_checkpoint import LoadedCheckpoint, Origin

logger = logging.getLogger(__name__)

# Keys besides the priors that change what given weights compute.
_KEYS_OF_NETWORK = (
    *("MODEL.BACKBONE.NAME", "MODEL.BACKBONE.WIDTH", "MODEL.NECK.NAME", "MODEL.BOX_HEAD.NAME"),
    *("MODEL.BOX_HEAD.PREDICTOR", "MODEL.BOX_HEAD.SCORES", "MODEL.CENTER_VARIANCE", "MODEL.SIZE_VARIANCE"),
    *("INPUT.IMAGE_SIZE", "INPUT.PIXEL_MEAN", "INPUT.PIXEL_STD"),
)
_PRIOR_KEYS = ("MIN_SIZES", "MAX_SIZES", "ASPECT_RATIOS", "SHAPES", "STRIDES", "OFFSETS", "CENTERS", "CLIP")
_SAME_PRIORS = 1e-5  # relative to the image
_SAME_NUMBERS = 0.01  # of mean, deviation and size, in pixels


def find_format(file: CheckpointContent, name: str = "auto") -> Format:
    """Return the format of a file: the one that is named or, for "auto", the first that recognises its tensor names."""
    names = list(file.weights)
    tensors = f"its {len(names)} tensors are named {join_some(names, 3)}"
    recognising = [format for format in all_formats().values() if format.recognises(names)]
    if name == "auto":
        if recognising:
            return recognising[0]
        raise CheckpointError(
            f"{file.source} has no known format: {tensors}. {_nearest(names)}The weights of a backbone alone go to "
            "MODEL.BACKBONE.PRETRAINED; for a changed network see docs/interop.md. The formats are "
            f"{', '.join(all_formats())}"
        )
    if name not in all_formats():
        raise ConfigError(f"there is no format {name!r}; the formats are {', '.join(all_formats())}")
    if missing := all_formats()[name].missing_marks(names):
        others = ", ".join(other.name for other in recognising) or "no known format"
        raise CheckpointError(
            f"{file.source} is not of {all_formats()[name].title}: no tensor of it is named like {_shown(missing[0])}. "
            f"It looks like {others}; {tensors}"
        )
    return all_formats()[name]


def convert_foreign(file: CheckpointContent, name: str = "auto") -> LoadedCheckpoint:
    """Convert a foreign checkpoint to our names and layouts, in float32, with the config of its network."""
    format = find_format(file, name)
    converted = _convert(format, file)
    overrides = ["MODEL.BACKBONE.PRETRAINED", False, "MODEL.NUM_CLASSES", count_classes(converted.weights)]
    cfg = load_config(shipped_config(converted.config), [*converted.overrides, *overrides])
    logger.info("Converted %s from %s", file.source, format.title)
    names = converted.class_names
    return LoadedCheckpoint(
        weights=converted.weights,
        source=file.source,
        config=cfg.dump(),
        class_names=None if names is None else (BACKGROUND, *names),
        origin=Origin(format.title, converted.config, converted.notes),
    )


def _convert(format: Format, file: CheckpointContent) -> Converted:
    """Convert the weights; errors name the file and its format."""
    weights = {name: value.float() if value.is_floating_point() else value for name, value in file.weights.items()}
    try:
        converted = format.convert(weights, {**file.content, "file_name": Path(file.source).name})
        count_classes(converted.weights)  # raises without headers
    except (RuntimeError, IndexError) as error:  # also of torch, for tensors of other shapes
        raise CheckpointError(
            f"{file.source} was recognised as {format.title}, but cannot be converted: {error}. If the file is as its "
            "author published it, it is an unknown variant; else fetch it again"
        ) from error
    return converted


def _nearest(names: Sequence[str]) -> str:
    """Return a sentence on the format that shares most marks with a file; empty if none shares any."""
    missing = {format.name: format.missing_marks(names) for format in all_formats().values()}
    nearest = min(all_formats().values(), key=lambda format: len(missing[format.name]) / len(format.marks))
    if len(missing[nearest.name]) == len(nearest.marks):
        return ""
    shown = ", ".join(map(_shown, missing[nearest.name]))
    return f"It is most similar to {nearest.name}, but has no tensors named like {shown}. "


def _shown(mark: str) -> str:
    return mark.removesuffix("$").replace("\\.", ".")


@contextmanager
def explained(checkpoint: LoadedCheckpoint, *, is_other_network: bool = False) -> Iterator[None]:
    """Add the format of a foreign checkpoint, and a remedy, to errors in loading it."""
    try:
        yield
    except CheckpointError as error:
        if checkpoint.origin is None:
            raise
        remedy = (
            f"this config builds another network, and configs/{checkpoint.origin.base}.yaml that of the file: name it "
            "as _BASE_"
            if is_other_network
            else "the names are those that its tensors get here. If the file is as its author published it, it is an "
            "unknown variant; else fetch it again"
        )
        raise CheckpointError(f"{error}\n  It was recognised as {checkpoint.origin.title}; {remedy}") from error


def check_network(cfg: Config, checkpoint: LoadedCheckpoint) -> None:
    """Raise ConfigError, with all differences, if a config gives a foreign checkpoint another network."""
    if checkpoint.origin is not None and (differences := network_differences(cfg, checkpoint)):
        raise ConfigError(
            f"{checkpoint.source} ({checkpoint.origin.title}) was trained with other settings than this config has: "
            f"{'; '.join(differences)}. `ssd convert` writes the config that belongs to it"
        )


def network_differences(cfg: Config, checkpoint: LoadedCheckpoint) -> list[str]:
    """List the settings of a config that differ from those a foreign checkpoint was trained with."""
    if checkpoint.origin is None or checkpoint.config is None:
        return []
    trained = parse_config(checkpoint.config, f"config in {checkpoint.source}")
    values = {key: (_value(cfg, key), _value(trained, key)) for key in _KEYS_OF_NETWORK}
    differences = [f"{key} is {one}, there {other}" for key, (one, other) in values.items() if not _is_same(one, other)]
    if not differences:  # else the priors may differ for that reason
        differences = _prior_differences(cfg, trained)
    return differences


def _prior_differences(cfg: Config, trained: Config) -> list[str]:
    priors, trained_priors = (make_prior_box(config, levels_of(config))() for config in (cfg, trained))  # (P, 4) each
    if priors.shape == trained_priors.shape and (priors - trained_priors).abs().amax() <= _SAME_PRIORS:
        return []
    keys = ", ".join(f"{key} {trained.MODEL.PRIORS[key]}" for key in _PRIOR_KEYS)
    return [f"MODEL.PRIORS gives {len(priors)} other priors than the {len(trained_priors)} there: {keys}"]


def levels_of(cfg: Config) -> Levels:
    """Return the levels of the network of a config, which is built without computing anything."""
    with torch.device("meta"):
        backbone = build_backbone(cfg, pretrained=False)
        return build_levels(cfg, nn.Sequential(backbone, build_neck(cfg, backbone)))


def _value(cfg: Config, key: str) -> Any:
    value: Any = reduce(getitem, key.split("."), cfg)
    return list(height_width(value)) if key == "INPUT.IMAGE_SIZE" else value


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(abs(a - b) <= _SAME_NUMBERS for a, b in zip(one, other, strict=True))
    return bool(one == other)
