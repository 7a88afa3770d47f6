"""A checkpoint that was read, and the names of its classes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssd.config import Config
from ssd.config.files import parse_yaml
from ssd.modeling.backbone.pretrained import StateDict
from ssd.structures.class_names import BACKGROUND, COCO_CLASSES, VOC_CLASSES
from ssd.utils.errors import CheckpointError, ConfigError
from ssd.weights.formats.layouts import count_classes

logger = logging.getLogger(__name__)

# Classes of published detectors by their number with background.
_PUBLISHED: dict[int, tuple[str, tuple[str, ...]]] = {21: ("VOC", VOC_CLASSES), 81: ("COCO", COCO_CLASSES)}


@dataclass(frozen=True)
class Origin:
    """Conversion of a foreign checkpoint."""

    title: str  # title of its format
    base: str  # config in configs/, without suffix, that its config starts from
    notes: tuple[str, ...]  # sentences for the user


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint to detect with or to start from."""

    weights: StateDict  # state dict in our names
    source: str  # path or URL
    config: str | None = None  # YAML of its config; None if it carries none
    class_names: tuple[str, ...] | None = None  # names in the file, background first; None if it has none
    origin: Origin | None = None  # None = a checkpoint of this library
    iteration: int | None = None  # iterations of its training; None if unknown
    score_thresholds: tuple[float, ...] | None = None  # see ``find_score_thresholds``; None if it was not evaluated

    @property
    def score_function(self) -> str | None:
        """MODEL.BOX_HEAD.SCORES of its config, "softmax" where that is older than the key; None without a config."""
        try:
            value: Any = parse_yaml(self.config, self.source) if isinstance(self.config, str) else {}
        except ConfigError:
            return None
        if "MODEL" not in value:
            return None
        for key in ("MODEL", "BOX_HEAD", "SCORES"):
            value = value.get(key) if isinstance(value, dict) else None
        return str(value or "softmax")

    @property
    def num_classes(self) -> int | None:
        """Number of classes, with background, in the shapes of the weights; None if they are no detector's."""
        try:
            return count_classes(self.weights)
        except CheckpointError:
            return None


def known_class_names(cfg: Config, checkpoint: LoadedCheckpoint, given: Sequence[str] = ()) -> tuple[str, ...] | None:
    """Return the classes of a checkpoint, background first; None if neither the user nor the file names them.

    ``given`` are the names of the command line, without background. They go before MODEL.WEIGHTS_CLASSES, which belongs
    to MODEL.WEIGHTS: if that is another file, the names in this one go first.
    """
    is_of_this_file = not cfg.MODEL.WEIGHTS or Path(cfg.MODEL.WEIGHTS).resolve() == Path(checkpoint.source).resolve()
    if not given and (checkpoint.class_names is None or is_of_this_file):
        given = cfg.MODEL.WEIGHTS_CLASSES
    names = (BACKGROUND, *given) if given else checkpoint.class_names
    count = checkpoint.num_classes
    if names is not None and count not in (None, len(names)):
        raise ConfigError(
            f"{checkpoint.source} has {count - 1} classes, but {len(names) - 1} names are given: "
            f"{', '.join(names[1:])}. MODEL.WEIGHTS_CLASSES (or --classes) takes all of them, without the background"
        )
    return names


def trained_class_names(
    cfg: Config, checkpoint: LoadedCheckpoint, given: Sequence[str] = (), *, of_data: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the classes of a checkpoint, background first: known ones, else a guess with a warning.

    The guess is the classes of the data (``of_data``, background first; default: CLASSES of the sets in the config) if
    they have the number of the checkpoint, else those of VOC or COCO. These two also go before the same names in
    another order.
    """
    names = known_class_names(cfg, checkpoint, given)
    if names is not None:
        return names
    source, count = checkpoint.source, checkpoint.num_classes
    of_data = tuple(of_data) or _listed_class_names(cfg)
    data, guess = _PUBLISHED.get(count or 0, ("", ()))
    if of_data and count in (None, len(of_data)) and {*guess} != {*of_data[1:]}:
        data, guess = "the datasets", of_data[1:]
    if not guess:
        if count is None:
            raise CheckpointError(f"{source} names no classes, and holds no SSD of this library")
        remedy = "set MODEL.WEIGHTS_CLASSES (`ssd convert`: --classes) to their names"
        raise ConfigError(f"{source} does not name its {count - 1} classes; {remedy}")
    logger.warning("%s does not name its %d classes: taken for those of %s", source, len(guess), data)
    return (BACKGROUND, *guess)


def _listed_class_names(cfg: Config) -> tuple[str, ...]:
    """Return CLASSES, behind the background, of the first set of DATASETS.TRAIN and TEST that has them, else ()."""
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        entry = cfg.DATASETS.CUSTOM.get(name)
        classes = entry.get("CLASSES") if isinstance(entry, Config) else None
        if isinstance(classes, (list, tuple)):
            return (BACKGROUND, *map(str, classes))
    return ()
