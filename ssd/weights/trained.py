"""A trained model from a checkpoint, its config and the names of its classes."""

import logging
from collections.abc import Sequence
from typing import Any

import torch

from ssd.config import Config, load_config, parse_config
from ssd.config.node import with_num_classes
from ssd.modeling.detector import SSDDetector, build_detection_model
from ssd.structures.class_names import BACKGROUND
from ssd.utils.checkpoint_folder import read_last
from ssd.utils.errors import CheckpointError, ConfigError
from ssd.utils.model_weights import load_model_weights
from ssd.weights.foreign import PUBLISHED_CLASSES, check_network, explained, published_config, read_detector
from ssd.weights.transfer import count_classes

logger = logging.getLogger(__name__)


def read_trained(cfg: Config, checkpoint: str | None) -> dict[str, Any]:
    """Read a checkpoint; there must be one, since random weights would only look like a result.

    Args:
        cfg: reads OUTPUT_DIR.
        checkpoint: path or URL, of this library or of another project; None = the last one of OUTPUT_DIR or, where that
            is damaged, the one before it.

    Returns:
        The checkpoint, see ``read_detector``.

    Raises:
        CheckpointError: there is none, or the one that was named is damaged or of no known kind.
        ConfigError, DownloadError, MissingPackageError: see ``read_detector``.
    """
    if checkpoint:
        return read_detector(checkpoint)
    found = read_last(cfg.OUTPUT_DIR)
    if found is None:
        raise CheckpointError(
            f"no checkpoint: OUTPUT_DIR {cfg.OUTPUT_DIR!r} has no last_checkpoint.txt. Train first, or name a file or "
            "URL (--ckpt of the commands)"
        )
    path, state = found
    return {**state, "source": str(path)}


def read_with_config(
    config_file: str | None, checkpoint: str | None, overrides: Sequence[str]
) -> tuple[Config, dict[str, Any]]:
    """Read a checkpoint and its config; without a config file, the device that it was trained on does not matter.

    Args:
        config_file: None = the config that the checkpoint carries.
        checkpoint: path or URL; None = the last one of OUTPUT_DIR. One of the two must be given.
        overrides: ``[KEY, VALUE, ...]``.

    Returns:
        The config and the checkpoint, see ``read_trained``.

    Raises:
        ConfigError: the config is missing or wrong.
        CheckpointError: the checkpoint is missing or damaged, or carries no config.
        DownloadError, MissingPackageError: see ``read_trained``.
    """
    if config_file is not None:
        cfg = load_config(config_file, overrides)
        return cfg, read_trained(cfg, checkpoint)
    assert checkpoint is not None, "there is neither a config nor a checkpoint"
    trained = read_detector(checkpoint)
    return own_config(trained).with_overrides(["MODEL.DEVICE", "auto", *overrides]), trained


def own_config(checkpoint: dict[str, Any]) -> Config:
    """Return the config that a checkpoint of ``read_trained`` carries.

    Raises:
        CheckpointError: it carries none.
        ConfigError: it carries one that this version does not take.
    """
    source, remedy = checkpoint["source"], "give the config file too"
    text = checkpoint.get("config") or published_config(checkpoint)
    if not isinstance(text, str):
        raise CheckpointError(f"{source} carries no config; {remedy}")
    try:
        return parse_config(text, f"config in {source}")
    except ConfigError as error:
        raise ConfigError(f"{error}. Another version of this library may have written it; {remedy}") from error


def known_classes(checkpoint: dict[str, Any], source: str) -> tuple[str, ...] | None:
    """Return the classes of a checkpoint, background first; None if nothing tells them.

    Args:
        checkpoint: names them, or has as many as VOC or COCO, for which the published detectors were trained.
        source: where it was read from, for the log.
    """
    if "class_names" in checkpoint:
        return tuple(checkpoint["class_names"])
    count = count_classes(checkpoint["model"])
    if count not in PUBLISHED_CLASSES:
        return None
    logger.info("%s does not name its %d classes: taken for those of VOC or COCO", source, count - 1)
    return PUBLISHED_CLASSES[count]


def trained_class_names(cfg: Config, checkpoint: dict[str, Any]) -> Sequence[str]:
    """Return the classes of a checkpoint of ``read_trained``, background first.

    Raises:
        CheckpointError: it is no detector's.
        ConfigError: neither it nor MODEL.WEIGHTS_CLASSES names them.
    """
    source = checkpoint["source"]
    names = known_classes(checkpoint, source)
    if names is not None:
        return names
    if cfg.MODEL.WEIGHTS_CLASSES:
        return (BACKGROUND, *cfg.MODEL.WEIGHTS_CLASSES)
    count = count_classes(checkpoint["model"])
    if count is None:
        raise CheckpointError(f"{source} names no classes, and holds no SSD of this library")
    raise ConfigError(
        f"{source} does not name its {count - 1} classes; give a config with their names in MODEL.WEIGHTS_CLASSES"
    )


def build_trained_model(
    cfg: Config, checkpoint: dict[str, Any], class_names: Sequence[str], device: torch.device
) -> SSDDetector:
    """Build the model of a config in evaluation mode, with the weights of a checkpoint of ``read_trained``.

    Raises:
        ConfigError: MODEL.NUM_CLASSES is not the number of ``class_names``, or the checkpoint was converted and trained
            with other settings.
        CheckpointError: the weights do not fit.
    """
    check_network(cfg, checkpoint)
    model = build_detection_model(with_num_classes(cfg, class_names), pretrained=False)
    with explained(checkpoint):
        load_model_weights(model, checkpoint["model"], checkpoint["source"])
    logger.info("Loaded weights from %s", checkpoint["source"])
    return model.to(device).to(memory_format=torch.channels_last).eval()  # faster, on CPU and GPU
