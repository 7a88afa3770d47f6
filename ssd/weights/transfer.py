"""Starting a detector from the weights of another one, whose classes may differ.

A priors per cell, C classes with background, D channels that a classification header sees.
"""

import logging
import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssd.modeling.backbone.pretrained import StateDict
from ssd.modeling.box_head.box_predictor import last_conv
from ssd.utils.model_weights import load_model_weights, matches_any

logger = logging.getLogger(__name__)

# Probability that a new class starts with, relative to the background's (Focal Loss, arXiv:1708.02002, Sec. 3.3).
NEW_CLASS_PRIOR = 0.01

_MAX_LISTED = 20

# What VOC calls otherwise than COCO, without spaces.
_SYNONYMS = {"aeroplane": "airplane", "motorbike": "motorcycle", "sofa": "couch", "tvmonitor": "tv"}


def load_detector_weights(
    model: nn.Module,
    weights: StateDict,
    source: str,
    *,
    trained_classes: Sequence[str],
    class_names: Sequence[str],
    new: Sequence[str] = (),
) -> None:
    """Load the weights of a detector that was trained on ``trained_classes`` into one for ``class_names``.

    Classes that both have (see ``match_classes``) keep what they have learnt. A new class starts as the background
    does, ``NEW_CLASS_PRIOR`` times as probable, so that it changes no detection at first.

    Args:
        model: an SSDDetector; changed only if everything fits.
        weights: the state dict.
        source: where it comes from, for messages.
        trained_classes: of the weights, background first.
        class_names: of the model, background first.
        new: regular expressions, matched from the start of a name: these tensors keep their initial values.

    Raises:
        CheckpointError: names or shapes differ beyond ``new``.
    """
    matches = match_classes(trained_classes, class_names)
    headers = _class_layers(model)
    initial = model.state_dict()
    kept = {name: value for name, value in initial.items() if matches_any(name, new)}
    used = {name: value for name, value in weights.items() if not matches_any(name, new)}
    for name in set(headers) & set(used):
        boxes_per_location = initial[name].shape[0] // len(class_names)
        if used[name].shape[0] == boxes_per_location * len(trained_classes):  # else the loading tells what is wrong
            used[name] = move_classes(used[name], matches, len(trained_classes))
    load_model_weights(model, {**used, **kept}, source)
    new_tensors = f", {len(kept)} others are new" if kept else ""
    logger.info("Started from %s: %d tensors%s", source, len(used), new_tensors)
    _log_classes(matches, trained_classes, class_names)


def match_classes(trained_classes: Sequence[str], class_names: Sequence[str]) -> list[int | None]:
    """Return for each of ``class_names`` the label that it has among ``trained_classes``, or None if it is new.

    Upper and lower case, spaces and the like do not count, nor do the few differences between the words of VOC and of
    COCO. Label 0 is the background in both.
    """
    labels = {_plain(name): label for label, name in enumerate(trained_classes) if label > 0}
    return [0, *(labels.get(_plain(name)) for name in class_names[1:])]


def _plain(name: str) -> str:
    letters = re.sub(r"[\W_]", "", name.casefold()) or name
    return _SYNONYMS.get(letters, letters)


def move_classes(values: Tensor, matches: Sequence[int | None], num_trained: int) -> Tensor:
    """Pick the classes of a classification header's weight or bias.

    Args:
        values: (A * C, D, k, k) or (A * C,) for C = ``num_trained``.
        matches: for each class of the result, its label in ``values``, or None for a new one.
        num_trained: classes in ``values``.

    Returns:
        (A * len(matches), D, k, k) or (A * len(matches),).
    """
    rows = values.unflatten(0, (-1, num_trained))[:, [match or 0 for match in matches]]  # (A, C, ...)
    if values.dim() == 1:
        is_new = torch.tensor([match is None for match in matches])
        rows[:, is_new] += math.log(NEW_CLASS_PRIOR)
    return rows.flatten(0, 1)


def count_classes(weights: StateDict) -> int | None:
    """Return the number of classes, with background, of a detector's weights; None if they are not a detector's."""
    headers = [name for name in weights if ".cls_headers.0." in name and name.endswith("bias")]
    reg_header = headers[-1].replace(".cls_headers.", ".reg_headers.") if headers else ""
    if reg_header not in weights:
        return None
    num_scores, num_offsets = weights[headers[-1]].numel(), weights[reg_header].numel()  # A * C and A * 4
    if num_offsets == 0 or num_offsets % 4 or 4 * num_scores % num_offsets:
        return None
    return 4 * num_scores // num_offsets


def _class_layers(model: nn.Module) -> list[str]:
    """Names of the weights and biases that hold one row a prior and class: of each header's last convolution."""
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
    for what, names in (("keep their weights", kept), ("are new", new), ("are left out", dropped)):
        if names:
            rest = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
            logger.info("Classes that %s: %s%s", what, ", ".join(names[:_MAX_LISTED]), rest)
    if not kept:
        logger.info("No class has the same name there: scores start anew, boxes and features as they were")
