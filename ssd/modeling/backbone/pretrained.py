"""Loading of published weights into backbones, without silent gaps."""

import logging
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ssd.modeling.layers import BatchNorm2d
from ssd.utils.checkpoint_file import read_checkpoint
from ssd.utils.errors import CheckpointError
from ssd.utils.model_weights import load_model_weights, matches_any

logger = logging.getLogger(__name__)

StateDict = dict[str, Tensor]


def load_pretrained(
    model: nn.Module,
    source: str,
    *,
    convert: Callable[[StateDict], StateDict] | None = None,
    new: Sequence[str] = (),
    unused: Sequence[str] = (),
) -> None:
    """Load published weights into a backbone, and log which tensors were loaded, are new or were not needed.

    Args:
        model: Backbone; changed only if everything fits.
        source: Path or URL of the weights.
        convert: Function that maps the weights of the file to those of the model.
        new: Regular expressions for names that the file may lack, such as extra layers; they keep their initial values.
        unused: Regular expressions for names that only the file may have, such as a classifier.

    Raises:
        CheckpointError: Names or shapes differ beyond these.
    """
    weights = read_checkpoint(source)["model"]
    if convert is not None:
        weights = convert(weights)
    initial = model.state_dict()
    kept = {name: value for name, value in initial.items() if name not in weights and matches_any(name, new)}
    left_over = [name for name in weights if name not in initial and matches_any(name, unused)]
    used = {name: value for name, value in weights.items() if name not in left_over}
    if not any(name in initial for name in used):
        raise CheckpointError(f"{source}: none of its {len(weights)} tensors belongs to the backbone")
    load_model_weights(model, {**used, **kept}, source)
    logger.info("Loaded %d of %d tensors from %s", len(used), len(initial), source)
    if kept:
        logger.info("Not in the file, so new: %s", ", ".join(_groups(kept)))
    if left_over:
        logger.info("In the file, but not needed: %s", ", ".join(_groups(left_over)))


def adapt_variances(weights: StateDict, eps: float) -> StateDict:
    """Add to running variances the difference of ``eps`` from that of our batch norms, so that evaluation is equal."""
    difference = eps - BatchNorm2d(1).eps
    return {name: value + difference if name.endswith(".running_var") else value for name, value in weights.items()}


def _groups(names: Sequence[str] | StateDict) -> list[str]:
    """Return the names up to their first dot, with the number of their tensors."""
    groups: dict[str, int] = {}
    for name in names:
        group = name.split(".")[0]
        groups[group] = groups.get(group, 0) + 1
    return [f"{group} ({count})" for group, count in groups.items()]
