"""The model that a training starts from: weights of a trained detector, of a published backbone, or random.

A priors per cell, C classes with background, D channels of a classification header.
"""

import logging
import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssd.config import Config
from ssd.modeling.backbone.pretrained import StateDict
from ssd.modeling.box_head.box_predictor import last_conv
from ssd.modeling.detector import SSDDetector, build_detection_model
from ssd.modeling.layers import BatchNorm2d
from ssd.utils.checkpoint_file import load_model_weights, matches_any
from ssd.utils.errors import CheckpointError, ConfigError, join_some
from ssd.weights.foreign import explained, network_differences
from ssd.weights.loaded_checkpoint import trained_class_names
from ssd.weights.trained import read_detector

logger = logging.getLogger(__name__)

# Probability of a new class relative to the background at the start (Focal Loss, arXiv:1708.02002, Sec. 3.3).
NEW_CLASS_PRIOR = 0.01

# Names of VOC, without spaces, that differ in COCO.
_SYNONYMS = {"aeroplane": "airplane", "motorbike": "motorcycle", "sofa": "couch", "tvmonitor": "tv"}


def build_new_model(cfg: Config, class_names: Sequence[str]) -> SSDDetector:
    """Build the model of a config for ``class_names``, background first, with MODEL.WEIGHTS or PRETRAINED weights."""
    source = cfg.MODEL.WEIGHTS
    if not source:
        frozen = [key for key in ("FREEZE_STAGES", "FREEZE_BATCH_NORMS") if cfg.MODEL.BACKBONE[key]]
        if frozen and not cfg.MODEL.BACKBONE.PRETRAINED:
            raise ConfigError(
                f"MODEL.BACKBONE.{frozen[0]} would keep random weights; unset it, or set PRETRAINED or MODEL.WEIGHTS"
            )
        return build_detection_model(cfg)
    checkpoint = read_detector(source)
    if checkpoint.num_classes is None:
        raise CheckpointError(
            f"{source} holds no detector, which MODEL.WEIGHTS takes; the weights of a backbone alone go to "
            "MODEL.BACKBONE.PRETRAINED"
        )
    differences = network_differences(cfg, checkpoint)
    for difference in differences:
        logger.warning("%s was trained otherwise: %s", source, difference)
    model = build_detection_model(cfg, pretrained=False)
    trained_classes = trained_class_names(cfg, checkpoint, of_data=class_names)
    with explained(checkpoint, is_other_network=bool(differences)):
        load_detector_weights(
            model,
            checkpoint.weights,
            source,
            trained_classes=trained_classes,
            class_names=class_names,
            new=cfg.MODEL.WEIGHTS_EXCLUDE,
            trained_function=checkpoint.score_function or "softmax",
        )
    count = sum(isinstance(layer, BatchNorm2d) and layer.is_folded for layer in model.modules())
    if count:
        logger.warning(
            "%d batch norms of %s are folded into their convolutions: the training keeps their statistics. "
            "`ssd convert --images FOLDER` estimates these on images, for training with those of batches",
            *(count, source),
        )
    return model.train()


def load_detector_weights(
    model: nn.Module,
    weights: StateDict,
    source: str,
    *,
    trained_classes: Sequence[str],
    class_names: Sequence[str],
    new: Sequence[str] = (),
    trained_function: str = "softmax",
) -> None:
    """Load the weights of a detector for ``trained_classes`` into one for ``class_names`` (both background first).

    Shared classes (see ``match_classes``) keep their weights. A new class scores as the background does, but
    ``NEW_CLASS_PRIOR`` times as probable, so that it changes no detection at first. With sigmoid scores the
    background's logit is 0. Tensors whose names begin with one of the regular expressions ``new`` keep their initial
    values. ``trained_function`` is MODEL.BOX_HEAD.SCORES of the weights. The model is changed only if everything fits.
    """
    uses_sigmoid = "sigmoid" in (trained_function, getattr(model.box_head, "score_function", "softmax"))
    matches = match_classes(trained_classes, class_names)
    initial = model.state_dict()
    kept = {name: value for name, value in initial.items() if matches_any(name, new)}
    used = {name: value for name, value in weights.items() if not matches_any(name, new)}
    for name in set(_class_layers(model)) & set(used):
        boxes_per_location = initial[name].shape[0] // len(class_names)
        if used[name].shape[0] == boxes_per_location * len(trained_classes):  # else loading raises
            values = relative_to_background(used[name], trained_function, len(trained_classes))
            used[name] = move_classes(values if uses_sigmoid else used[name], matches, len(trained_classes))
    load_model_weights(model, {**used, **kept}, source)
    new_tensors = f", {len(kept)} others are new" if kept else ""
    logger.info("Started from %s: %d tensors%s", source, len(used), new_tensors)
    _log_classes(matches, trained_classes, class_names)


def match_classes(trained_classes: Sequence[str], class_names: Sequence[str]) -> list[int | None]:
    """Return the label of each of ``class_names`` among ``trained_classes``; None for a new class.

    Case, spaces, punctuation and the words in which VOC and COCO differ are ignored. Label 0 is the background.
    """
    labels = {_plain(name): label for label, name in enumerate(trained_classes) if label > 0}
    return [0, *(labels.get(_plain(name)) for name in class_names[1:])]


def _plain(name: str) -> str:
    letters = re.sub(r"[\W_]", "", name.casefold()) or name
    return _SYNONYMS.get(letters, letters)


def move_classes(values: Tensor, matches: Sequence[int | None], num_trained: int) -> Tensor:
    """Select the classes ``matches``, None for a new one, of a weight or bias (A * C, ...) with C = ``num_trained``."""
    rows = values.unflatten(0, (-1, num_trained))[:, [match or 0 for match in matches]]  # (A, C, ...)
    if values.dim() == 1:
        is_new = torch.tensor([match is None for match in matches])
        rows[:, is_new] += math.log(NEW_CLASS_PRIOR)
    return rows.flatten(0, 1)


def relative_to_background(values: Tensor, score_function: str, num_classes: int) -> Tensor:
    """Subtract the background from every class of a header (A * C, ...): softmax scores nearly become sigmoids."""
    rows = values.unflatten(0, (-1, num_classes)).clone()  # (A, C, ...)
    if score_function == "softmax":
        rows -= rows[:, :1].clone()
    rows[:, 0] = 0
    return rows.flatten(0, 1)


def _class_layers(model: nn.Module) -> list[str]:
    """Return the names of the weights and biases with one row per prior and class: the last convolutions."""
    predictor = getattr(model.box_head, "predictor", None)
    names = []
    for level, header in enumerate(getattr(predictor, "cls_headers", [])):
        layer, _ = last_conv(header)
        path = ".".join(filter(None, ["box_head.predictor.cls_headers", str(level), layer]))
        names += [f"{path}.weight", f"{path}.bias"]
    return names


def _log_classes(matches: Sequence[int | None], trained_classes: Sequence[str], class_names: Sequence[str]) -> None:
    kept = [name for name, match in zip(class_names, matches, strict=True) if match]
    new = [name for name, match in zip(class_names, matches, strict=True) if match is None]
    dropped = [name for label, name in enumerate(trained_classes) if label not in matches]
    for text, names in (("keep their weights", kept), ("are new", new), ("are left out", dropped)):
        if names:
            logger.info("Classes that %s: %s", text, join_some(names, 20))
    if not kept:
        logger.info("No class has the same name there: only boxes and features keep their weights")
