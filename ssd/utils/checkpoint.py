"""Saving and restoring of a training, and the checkpoints in the folder of a run."""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ssd.utils.checkpoint_file import (
    SAFETENSORS,
    check_model_weights,
    nearest_checkpoints,
    read_checkpoint,
    write_checkpoint,
    write_weights,
)
from ssd.utils.errors import CheckpointError, OutputError, import_extra
from ssd.utils.files import write_text

logger = logging.getLogger(__name__)

TAG_FILE = "last_checkpoint.txt"
BEST = "model_best"

_NUMBERED = re.compile(r"model_(\d+)\.pth")
# Keys that the state of each part of a training has.
_STATE_KEYS = {"optimizer": {"state", "param_groups"}, "scheduler": {"last_epoch"}, "scaler": {"scale"}}


@dataclass(eq=False)
class Checkpointer:
    """Saves and restores a training, and remembers the newest checkpoint of a folder."""

    model: nn.Module  # a DistributedDataParallel one is unwrapped
    optimizer: Optimizer | None = None
    scheduler: LRScheduler | None = None
    save_dir: str | os.PathLike[str] = ""  # without it, ``save`` does nothing
    _: KW_ONLY
    # Averages of the model's weights: they are the "model" of a checkpoint, which detects; the weights from which a
    # training continues are the "training_model".
    average: nn.Module | None = None
    scaler: GradScaler | None = None  # of float16 gradients
    keep: int = -1  # checkpoints model_XXXXXX that stay besides the one to continue from; -1 = all
    safetensors: bool = False  # the weights that detect are written to such a file too
    extra: dict[str, Any] = field(default_factory=dict)  # values for every checkpoint (class names, config, ...)

    def __post_init__(self) -> None:
        if isinstance(self.model, DistributedDataParallel):
            self.model = self.model.module
        if self.safetensors:
            import_extra("safetensors.torch", "safetensors")

    def save(self, name: str, *, tag_last: bool = True, **extra: Any) -> None:
        """Write ``save_dir/name.pth`` atomically, then the tag; old checkpoints are removed last. For rank 0 only."""
        if not self.save_dir:
            return
        checkpoint = {**self._state(), **self.extra, **extra}
        path = os.path.join(self.save_dir, f"{name}.pth")
        try:
            os.makedirs(self.save_dir, exist_ok=True)
            write_checkpoint(path, checkpoint)
            if self.safetensors:
                class_names = checkpoint.get("class_names", ())
                write_weights(os.path.join(self.save_dir, name + SAFETENSORS), checkpoint["model"], class_names)
            if tag_last:
                tag_checkpoint(self.save_dir, path)
        except OSError as error:
            last = "no checkpoint was written before"
            if has_checkpoint(self.save_dir):
                last = f"{last_checkpoint(self.save_dir)} is unchanged: free space (CHECKPOINT.KEEP) and continue there"
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}; {last}") from error
        if self.keep > 0:
            remove_old(self.save_dir, self.keep)

    def restore(self, checkpoint: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Restore the model, and the other parts that both this object and the checkpoint have.

        Nothing is changed if the weights or the optimizer do not fit. A missing average starts from the weights.
        """
        rest = dict(checkpoint)
        average_weights = rest.pop("model")
        weights = rest.pop("training_model", average_weights)
        optimizer, scheduler, scaler = (_pop_state(rest, name, source) for name in _STATE_KEYS)
        check_model_weights(self.model, weights, source)
        check_model_weights(self.model, average_weights, source)
        if self.optimizer is not None and optimizer is not None:
            load_optimizer_state(self.optimizer, optimizer, source)
        if self.scheduler is not None and scheduler is not None:
            self.scheduler.load_state_dict(scheduler)
        if self.scaler is not None and scaler is not None:
            self.scaler.load_state_dict(scaler)
        self.model.load_state_dict(weights)
        if self.average is not None:
            self.average.load_state_dict(average_weights)
        return rest

    def _state(self) -> dict[str, Any]:
        scaler = self.scaler if self.scaler is not None and self.scaler.is_enabled() else None
        parts = {
            "model": self.model if self.average is None else self.average,
            "training_model": None if self.average is None else self.model,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "scaler": scaler,
        }
        return {name: part.state_dict() for name, part in parts.items() if part is not None}


def _pop_state(values: dict[str, Any], name: str, source: str) -> dict[str, Any] | None:
    state = values.pop(name, None)
    if state is not None and not (isinstance(state, dict) and _STATE_KEYS[name] <= state.keys()):
        raise CheckpointError(f'{source}: its key "{name}" is not the state of a training')
    return state


def load_optimizer_state(optimizer: Optimizer, state_dict: dict[str, Any], source: str) -> None:
    """Restore the accumulated state of an optimizer (momentum, ...), but none of its hyper-parameters.

    Learning rate, momentum and weight decay stay those of the running configuration. If the state belongs to other
    parameters or another kind of optimizer, CheckpointError is raised and nothing is changed.
    """
    running, saved = optimizer.state_dict()["param_groups"], state_dict["param_groups"]
    sizes, saved_sizes = ([len(group["params"]) for group in groups] for groups in (running, saved))
    if sizes != saved_sizes:
        raise CheckpointError(
            f"{source}: its optimizer has parameter groups of {saved_sizes} tensors, this one of {sizes}; "
            "load only the weights and start a new training"
        )
    if ("betas" in running[0]) != ("betas" in saved[0]):  # Adam has them, SGD has not
        raise CheckpointError(
            f"{source}: its optimizer is of another kind than {type(optimizer).__name__}; set SOLVER.OPTIMIZER as it "
            "was, or another OUTPUT_DIR to start a new training"
        )
    groups = [{**now, "params": then["params"]} for now, then in zip(running, saved, strict=True)]
    optimizer.load_state_dict({"state": state_dict["state"], "param_groups": groups})
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                # In the parameter's memory format: fused optimizers go through both in memory order.
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def has_checkpoint(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder names a checkpoint to continue from; an empty name is no folder."""
    return bool(os.fspath(folder)) and Path(folder, TAG_FILE).is_file()


def tag_checkpoint(folder: str | os.PathLike[str], path: str) -> None:
    """Make ``path`` the checkpoint that a later run continues from."""
    write_text(Path(folder, TAG_FILE), path)


def last_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """Return the checkpoint that a folder names, or None; raise CheckpointError if the file does not exist."""
    if not has_checkpoint(folder):
        return None
    tag = Path(folder, TAG_FILE)
    written = tag.read_text(encoding="utf-8", errors="replace").strip().replace("\0", "")
    # The file next to the tag comes first: the folder may have been copied or moved since the path was written.
    beside = tag.parent / Path(written).name
    for path in (beside, Path(written)):
        if path.is_file():
            return path
    raise CheckpointError(
        f"{tag} names {written!r}, which does not exist{nearest_checkpoints(tag.with_name(beside.name))}; "
        "write the name of another one into that file, or delete it to start from the beginning"
    )


def read_last(folder: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]] | None:
    """Read the checkpoint that a folder names or, if it is damaged, the newest intact one before it, with a warning.

    Return path and content; None if the folder names none. If none can be read, CheckpointError is raised.
    """
    last = last_checkpoint(folder)
    if last is None:
        return None
    earlier = _earlier_checkpoints(last)
    for path in (last, *earlier):
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError as error:
            if not earlier:
                raise
            logger.warning("%s", error)
            continue
        if path != last:
            logger.warning("Using %s in its place", path)
        return path, checkpoint
    raise CheckpointError(
        f"{last} cannot be read, nor {', '.join(path.name for path in earlier)} next to it; "
        f"fetch one of them again, or delete {last.parent / TAG_FILE} to start from the beginning"
    )


def remove_old(folder: str | os.PathLike[str], keep: int) -> None:
    """Remove all but the ``keep`` newest checkpoints model_XXXXXX, with their safetensors files, and the last one."""
    last = last_checkpoint(folder)
    for path in _numbered(Path(folder))[keep:]:
        if path != last:
            path.unlink(missing_ok=True)
            path.with_suffix(SAFETENSORS).unlink(missing_ok=True)


def _earlier_checkpoints(last: Path) -> list[Path]:
    """Return the checkpoints that can replace the last one, best choice first."""
    is_numbered = _NUMBERED.fullmatch(last.name) is not None
    earlier = [path for path in _numbered(last.parent) if not is_numbered or _number(path) < _number(last)]
    best = last.with_name(f"{BEST}.pth")
    return [*earlier, *([best] if best.is_file() and best != last else [])]


def _numbered(folder: Path) -> list[Path]:
    """Return the checkpoints model_XXXXXX of a folder, newest first."""
    return sorted((path for path in folder.glob("model_*.pth") if _NUMBERED.fullmatch(path.name)), key=_number)[::-1]


def _number(path: Path) -> int:
    return int(path.stem.removeprefix("model_"))
