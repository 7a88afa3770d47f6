"""What a training starts from: a trained detector, a backbone with published weights, or random weights."""

import logging
from collections.abc import Sequence
from typing import Any

from ssd.config import Config
from ssd.modeling.detector import SSDDetector, build_detection_model
from ssd.structures.class_names import BACKGROUND
from ssd.utils.errors import CheckpointError, ConfigError
from ssd.weights.foreign import explained, network_differences, read_detector
from ssd.weights.trained import known_classes
from ssd.weights.transfer import count_classes, load_detector_weights

logger = logging.getLogger(__name__)


def build_new_model(cfg: Config, class_names: Sequence[str]) -> SSDDetector:
    """Build the model of a config with the weights to start from: MODEL.WEIGHTS, or MODEL.BACKBONE.PRETRAINED.

    Args:
        cfg: reads MODEL and INPUT.IMAGE_SIZE.
        class_names: of the model, background first.

    Raises:
        ConfigError: keys contradict each other; the classes of WEIGHTS are not known, or WEIGHTS_CLASSES has another
            number of them; random weights would be frozen.
        CheckpointError: a file is missing, damaged or of something else, or does not fit.
        DownloadError, MissingPackageError: see ``read_detector``; published weights cannot be fetched.
    """
    source = cfg.MODEL.WEIGHTS
    if not source:
        if cfg.MODEL.BACKBONE.FREEZE_STAGES and not cfg.MODEL.BACKBONE.PRETRAINED:
            raise ConfigError(
                "MODEL.BACKBONE.FREEZE_STAGES would keep random weights; set MODEL.BACKBONE.PRETRAINED or MODEL.WEIGHTS"
            )
        return build_detection_model(cfg)
    checkpoint = read_detector(source, class_names=cfg.MODEL.WEIGHTS_CLASSES)
    differences = network_differences(cfg, checkpoint)
    for difference in differences:
        logger.warning("%s was trained otherwise: %s", source, difference)
    model = build_detection_model(cfg, pretrained=False)
    trained_classes = _trained_classes(checkpoint, source, cfg.MODEL.WEIGHTS_CLASSES, class_names)
    with explained(checkpoint, is_other_network=bool(differences)):
        load_detector_weights(
            model,
            checkpoint["model"],
            source,
            trained_classes=trained_classes,
            class_names=class_names,
            new=cfg.MODEL.WEIGHTS_EXCEPT,
        )
    return model


def _trained_classes(
    checkpoint: dict[str, Any], source: str, given: Sequence[str], class_names: Sequence[str]
) -> Sequence[str]:
    """The classes of a checkpoint, background first."""
    count = count_classes(checkpoint["model"])
    if count is None:
        raise CheckpointError(
            f"{source} holds no detector, which MODEL.WEIGHTS takes; the weights of a backbone alone go to "
            "MODEL.BACKBONE.PRETRAINED"
        )
    if given:
        if len(given) + 1 != count:
            raise ConfigError(f"MODEL.WEIGHTS_CLASSES has {len(given)} names, but {source} {count - 1} classes")
        return (BACKGROUND, *given)
    if (known := known_classes(checkpoint, source)) is not None:
        return known
    if count == len(class_names):
        logger.warning("%s does not name its %d classes: taken for those of the training", source, count - 1)
        return class_names
    raise ConfigError(f"{source} does not name its {count - 1} classes; set MODEL.WEIGHTS_CLASSES")
