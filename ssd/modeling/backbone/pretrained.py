"""Loading of published weights into backbones, without silent gaps.

The weights expect RGB normalised by INPUT.PIXEL_MEAN [123.675, 116.28, 103.53] and INPUT.PIXEL_STD [58.395, 57.12,
57.375]: 255 times (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225) of torchvision's documentation.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

from ssd.modeling.layers import BatchNorm2d
from ssd.utils.checkpoint_file import load_model_weights, matches_any, read_checkpoint
from ssd.utils.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)

StateDict = dict[str, Tensor]


def load_pretrained(
    model: nn.Module,
    source: bool | str,
    *,
    default: str | None = None,
    convert: Callable[[StateDict], StateDict] | None = None,
    new: Sequence[str] = (),
    unused: Sequence[str] = (),
) -> None:
    """Load published weights into a backbone, and log which tensors were loaded, are new or were not needed.

    ``source`` is a path or URL, True for the URL ``default``, False for none; ``convert`` maps the weights of the file
    to those of the model. The file may lack names that match ``new``, such as extra layers, which keep their initial
    values, and only the file may have those of ``unused``, such as a classifier. Otherwise the model stays as it is.
    """
    if not source:
        return
    path = source if isinstance(source, str) else default
    if path is None:
        raise ConfigError(
            f"{type(model).__name__} has no default weights: MODEL.BACKBONE.PRETRAINED takes a file or False"
        )
    weights = read_checkpoint(path)["model"]
    if convert is not None:
        weights = convert(weights)
    initial = model.state_dict()
    kept = {name: value for name, value in initial.items() if name not in weights and matches_any(name, new)}
    left_over = [name for name in weights if name not in initial and matches_any(name, unused)]
    used = {name: value for name, value in weights.items() if name not in left_over}
    if not any(name in initial for name in used):
        raise CheckpointError(f"{path}: none of its {len(weights)} tensors belongs to the backbone")
    load_model_weights(model, {**used, **kept}, path)
    logger.info("Loaded %d of %d tensors from %s", len(used), len(initial), path)
    if kept:
        logger.info("Not in the file, so new: %s", _groups(kept))
    if left_over:
        logger.info("In the file, but not needed: %s", _groups(left_over))


def refuse_pretrained(pretrained: bool | str, name: str) -> None:
    """Raise ConfigError if weights are asked of a backbone for which none are published."""
    if pretrained:
        raise ConfigError(
            f"backbone {name!r} has no ImageNet weights: set MODEL.BACKBONE.PRETRAINED False; a trained detector goes "
            "to MODEL.WEIGHTS"
        )


def adapt_variances(weights: StateDict, eps: float) -> StateDict:
    """Add to running variances the difference of ``eps`` from that of our batch norms, so that evaluation is equal."""
    difference = eps - BatchNorm2d(1).eps
    return {name: value + difference if name.endswith(".running_var") else value for name, value in weights.items()}


def _groups(names: Iterable[str]) -> str:
    """List the names up to their first dot, with the number of their tensors."""
    counts = Counter(name.split(".")[0] for name in names)
    return ", ".join(f"{group} ({count})" for group, count in counts.items())
