"""Continue a training: find its checkpoint, restore it, and compare its config with that of the run."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ssd.config import Config
from ssd.config import cfg as defaults
from ssd.config.files import parse_yaml, with_current_keys
from ssd.utils.checkpoint import BEST, Checkpointer, read_last
from ssd.utils.checkpoint_file import read_checkpoint
from ssd.utils.distributed import broadcast_text, is_main
from ssd.utils.errors import CheckpointError, shorten
from ssd.utils.files import remove_stale

logger = logging.getLogger(__name__)

# Keys of SOLVER that determine the learning rate.
SCHEDULE_KEYS = (
    *("MAX_ITER", "SCHEDULE", "LR_STEPS", "GAMMA", "FLAT", "END_FACTOR"),
    *("LR", "BIAS_LR_FACTOR", "BACKBONE_LR_FACTOR", "NEW_LAYERS_LR_FACTOR"),
    *("WARMUP_FACTOR", "WARMUP_ITERS"),
)


_FREE_KEYS = ("OUTPUT_DIR:", "MODEL.DEVICE:", "DATA_LOADER.")  # that change no result
_ABSENT = object()


@dataclass(frozen=True)
class StoredTraining:
    """A checkpoint to continue from: the path of its file, and its content (see ``read_checkpoint``)."""

    path: Path
    checkpoint: dict[str, Any]

    def is_of(self, cfg: Config) -> bool:
        """Whether it was trained with this config, whatever its folder, device and loader; True if it has none."""
        tree = read_stored_config(self.checkpoint, str(self.path))
        changes = [] if tree is None else config_changes(tree, cfg)
        return all(change.startswith(_FREE_KEYS) for change in changes)


def find_training(output_dir: str | os.PathLike[str]) -> StoredTraining | None:
    """Remove unfinished files of killed processes from a run's folder, and read its last intact checkpoint.

    Of several processes all must call this, and all get the same; None if the folder names no checkpoint.
    """
    stored = None
    if is_main():
        for folder in (Path(output_dir), *Path(output_dir).glob("inference/*")):
            for path in remove_stale(folder):
                logger.info("Removed %s, an unfinished file of a killed process", path)
        found = read_last(output_dir)
        stored = None if found is None else StoredTraining(*found)
    name = broadcast_text("" if stored is None else str(stored.path))
    return stored if is_main() or not name else StoredTraining(Path(name), read_checkpoint(name))


def with_stored_schedule(cfg: Config, stored: StoredTraining) -> Config:
    """Return a frozen config with the schedule that a checkpoint was trained with."""
    tree = read_stored_config(stored.checkpoint, str(stored.path))
    solver = None if tree is None else tree.get("SOLVER")
    if not isinstance(solver, dict):
        raise CheckpointError(f"{stored.path} has no config with a schedule; omit --resume_schedule")
    stored_values = {f"SOLVER.{name}": solver[name] for name in SCHEDULE_KEYS if name in solver}
    changed = cfg.with_overrides(list(chain.from_iterable(stored_values.items())))
    for name in SCHEDULE_KEYS:
        if changed.SOLVER[name] != cfg.SOLVER[name]:
            logger.info("SOLVER.%s is %s, from the checkpoint, not %s", name, changed.SOLVER[name], cfg.SOLVER[name])
    return changed


def resume(checkpointer: Checkpointer, cfg: Config, stored: StoredTraining, *, max_iter: int) -> int:
    """Restore a training, log differences from its earlier config, and return the completed iterations."""
    _check_classes(stored, checkpointer.extra["class_names"])
    iteration = stored.checkpoint.get("iteration", 0)
    if type(iteration) is not int or iteration < 0:
        raise CheckpointError(f"{stored.path}: its iteration must be 0 or more, but is {shorten(iteration)}")
    rest = checkpointer.restore(stored.checkpoint, str(stored.path))
    best_metric = _best_metric(cfg, rest)
    if best_metric is not None:  # else checkpoints would have a key that those of an unbroken run lack
        checkpointer.extra["best_metric"] = best_metric
    if "score_thresholds" in rest:
        checkpointer.extra["score_thresholds"] = rest["score_thresholds"]
    logger.info("Continuing from %s: iteration %d of %d", stored.path, iteration, max_iter)
    tree = read_stored_config(stored.checkpoint, str(stored.path))
    if tree is not None and (changes := config_changes(tree, cfg)):
        logger.warning("The config is no longer that of %s:\n  %s", stored.path, "\n  ".join(changes))
    if iteration >= max_iter:
        logger.info(
            "Nothing is left to train, and config.yaml stays as it was trained; raise SOLVER.MAX_ITER, or set another "
            "OUTPUT_DIR for a new training. `ssd test` evaluates with other settings"
        )
    return iteration


def _check_classes(stored: StoredTraining, class_names: Sequence[str]) -> None:
    trained_on = stored.checkpoint.get("class_names", list(class_names))
    if trained_on != list(class_names):
        names = trained_on[1:] if isinstance(trained_on, list) else [trained_on]
        raise CheckpointError(
            f"{stored.path} was trained on {', '.join(map(str, names))}, but DATASETS.TRAIN has "
            f"{', '.join(class_names[1:])}; set another OUTPUT_DIR for a new run"
        )


def _best_metric(cfg: Config, state: dict[str, Any]) -> float | None:
    """Return the best metric so far, from model_best.pth, which may be newer than the continued checkpoint."""
    best = Path(cfg.OUTPUT_DIR, f"{BEST}.pth")
    if best.is_file():
        try:
            state = read_checkpoint(best)
        except CheckpointError as error:
            logger.warning("%s; the next evaluation that beats those before replaces it", error)
    return state.get("best_metric")


def read_stored_config(checkpoint: Mapping[str, Any], source: str) -> dict[str, Any] | None:
    """Return the config of a checkpoint as a plain tree, unchecked; None if it has none, as those of lufficc/SSD."""
    text = checkpoint.get("config")
    return None if text is None else with_current_keys(parse_yaml(text, f"config in {source}"), f"{source}: ")[0]


def config_changes(stored: dict[str, Any], cfg: Config) -> list[str]:
    """List the keys whose values differ, as "KEY: old -> new"; a key that ``stored`` lacks has its default."""
    before, now = _overlaid(_plain(defaults), stored), _plain(cfg)
    return [f"{key}: {_shown(old)} -> {_shown(new)}" for key, old, new in _differences(before, now, "")]


def _plain(cfg: Config) -> dict[str, Any]:
    """Return a config as its YAML file is read: with lists for tuples."""
    return parse_yaml(cfg.dump(), "config")


def _overlaid(base: Any, tree: Any) -> Any:
    """Return ``tree`` with the keys of ``base`` that it lacks."""
    if not (isinstance(base, dict) and isinstance(tree, dict)):
        return tree
    return {**tree, **{key: _overlaid(value, tree.get(key, value)) for key, value in base.items()}}


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield key, old and new value; those of a group that only one has are one."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield path, old, new
        return
    for key in (*new, *(key for key in old if key not in new)):
        yield from _differences(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{path}.{key}" if path else str(key))


def _shown(value: Any) -> str:
    return "(none)" if value is _ABSENT else shorten(value)
