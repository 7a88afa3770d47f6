"""Reading of trained detectors, and building of their models."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ssd.config import Config, load_config, parse_config
from ssd.config.node import with_num_classes
from ssd.modeling.backbone.pretrained import StateDict
from ssd.modeling.detector import SSDDetector, build_detection_model
from ssd.utils.checkpoint import read_last
from ssd.utils.checkpoint_file import load_model_weights
from ssd.utils.errors import CheckpointError, ConfigError
from ssd.weights.foreign import check_network, convert_foreign, explained
from ssd.weights.formats.reading import CheckpointContent, read_weights
from ssd.weights.loaded_checkpoint import LoadedCheckpoint

logger = logging.getLogger(__name__)


def read_detector(source: str, format: str = "auto") -> LoadedCheckpoint:
    """Read the checkpoint of a detector, a path or URL, and convert it if it is of another project."""
    file = read_weights(source)
    is_signed = {"config", "class_names"} <= file.content.keys()  # as all checkpoints of this library are
    if format == "auto" and (is_signed or any(name.startswith("box_head.") for name in file.weights)):
        return _of_this_library(file.weights, file.content, source)
    return convert_foreign(file, format)


def _of_this_library(weights: StateDict, content: Mapping[str, Any], source: str) -> LoadedCheckpoint:
    names, thresholds = content.get("class_names"), content.get("score_thresholds")
    return LoadedCheckpoint(
        weights=weights,
        source=source,
        config=content.get("config"),
        class_names=None if names is None else tuple(names),
        iteration=content.get("iteration"),
        score_thresholds=_read_thresholds(thresholds, len(names or ())),
    )


def _read_thresholds(values: Any, num_classes: int) -> tuple[float, ...] | None:
    """Return the thresholds of a checkpoint; None if there are none, or not one number for each class."""
    if not isinstance(values, list) or len(values) != num_classes or not {*map(type, values)} <= {int, float}:
        return None
    return tuple(map(float, values))


def read_trained(cfg: Config, checkpoint: str | None) -> LoadedCheckpoint:
    """Read a checkpoint, None = the last intact one of OUTPUT_DIR; random weights would only look like a result."""
    if checkpoint:
        return read_detector(checkpoint)
    found = read_last(cfg.OUTPUT_DIR)
    if found is None:
        raise CheckpointError(
            f"no checkpoint: OUTPUT_DIR {cfg.OUTPUT_DIR!r} has no last_checkpoint.txt. Train first, or name a file "
            "or URL"
        )
    path, content = found
    return _of_this_library(content["model"], content, str(path))


def read_with_config(
    config_file: str | None, checkpoint: str | None, overrides: Sequence[str]
) -> tuple[Config, LoadedCheckpoint]:
    """Read a checkpoint and its config; one of the two must be given.

    Without ``config_file`` it is the config that the checkpoint carries, but for its MODEL.DEVICE; without
    ``checkpoint`` the last one of OUTPUT_DIR is read.
    """
    if config_file is not None:
        cfg = load_config(config_file, overrides)
        return cfg, read_trained(cfg, checkpoint)
    assert checkpoint is not None, "there is neither a config nor a checkpoint"
    trained = read_detector(checkpoint)
    return own_config(trained).with_overrides(["MODEL.DEVICE", "auto", *overrides]), trained


def own_config(checkpoint: LoadedCheckpoint) -> Config:
    """Return the config that a checkpoint carries or, for one of lufficc/SSD, the config of its network."""
    source, remedy = checkpoint.source, "give the config file too"
    text = checkpoint.config or _lufficc_config(checkpoint)
    if not isinstance(text, str):
        raise CheckpointError(f"{source} carries no config; {remedy}")
    try:
        return parse_config(text, f"config in {source}")
    except ConfigError as error:
        raise ConfigError(f"{error}. Another version of this library may have written it; {remedy}") from error


def _lufficc_config(checkpoint: LoadedCheckpoint) -> str | None:
    try:
        converted = convert_foreign(CheckpointContent(checkpoint.source, checkpoint.weights, {}), "lufficc")
    except CheckpointError:
        return None
    assert converted.origin is not None
    for note in converted.origin.notes:
        logger.warning("%s: %s", checkpoint.source, note)
    return converted.config


def build_trained_model(
    cfg: Config, checkpoint: LoadedCheckpoint, class_names: Sequence[str], device: torch.device
) -> SSDDetector:
    """Build the model of a config in evaluation mode, with the weights of a checkpoint."""
    check_network(cfg, checkpoint)
    if checkpoint.score_function not in (None, cfg.MODEL.BOX_HEAD.SCORES):
        raise ConfigError(
            f"{checkpoint.source} was trained with MODEL.BOX_HEAD.SCORES {checkpoint.score_function}, but this config "
            f"says {cfg.MODEL.BOX_HEAD.SCORES}: its scores would be wrong. Set the key to {checkpoint.score_function}"
        )
    model = build_detection_model(with_num_classes(cfg, class_names), pretrained=False)
    with explained(checkpoint):
        load_model_weights(model, checkpoint.weights, checkpoint.source)
    logger.info("Loaded weights from %s", checkpoint.source)
    return model.to(device).to(memory_format=torch.channels_last).eval()  # faster, on CPU and GPU
