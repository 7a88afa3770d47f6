"""Saving and restoring of a training."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ssd.utils.checkpoint_file import SAFETENSORS, read_checkpoint, require_safetensors, write_checkpoint, write_weights
from ssd.utils.checkpoint_folder import TAG_FILE, has_checkpoint, last_checkpoint, read_last, remove_old, tag_checkpoint
from ssd.utils.errors import CheckpointError, OutputError
from ssd.utils.model_weights import check_model_weights

# Keys that the state of each part of a training has at least, with their types.
_STATES: dict[str, dict[str, type]] = {
    "optimizer": {"state": dict, "param_groups": list},
    "scheduler": {"last_epoch": int},
    "scaler": {"scale": float, "_growth_tracker": int},
}


class Checkpointer:
    """Saves and restores a training, and remembers the newest checkpoint of a folder.

    Args:
        model: Network; a DistributedDataParallel is unwrapped.
        scheduler: Restored after the optimizer, so that it sets the learning rate.
        save_dir: Folder of the checkpoints; empty = ``save`` does nothing.
        average: Average of the model's weights. It is then the "model" of a checkpoint, which detects; the weights
            from which a training continues are the "training_model".
        scaler: Gradient scaler of float16.
        keep: Number of checkpoints model_XXXXXX to keep besides the one to continue from; -1 = all.
        safetensors: Also write the weights that detect to a safetensors file.

    Attributes:
        extra: Further values for every checkpoint (class names, config, ...), of the types that ``save`` takes.

    Raises:
        MissingPackageError: safetensors is requested but not installed.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None = None,
        scheduler: LRScheduler | None = None,
        save_dir: str | os.PathLike[str] = "",
        *,
        average: nn.Module | None = None,
        scaler: GradScaler | None = None,
        keep: int = -1,
        safetensors: bool = False,
    ):
        self.model = model.module if isinstance(model, DistributedDataParallel) else model
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.average = average
        self.scaler = scaler
        self.save_dir = os.fspath(save_dir)
        self.keep = keep
        self.safetensors = safetensors
        self.extra: dict[str, Any] = {}
        if safetensors:
            require_safetensors()

    def save(self, name: str, *, tag_last: bool = True, **extra: Any) -> None:
        """Write ``save_dir/name.pth`` atomically, then the tag; old checkpoints are removed last. For rank 0 only.

        Args:
            name: File name without its suffix.
            tag_last: Whether a later run continues from this checkpoint.
            extra: Further values (``iteration``, ...): numbers, strings, tensors, and lists, tuples and dictionaries
                of them.

        Raises:
            TypeError: A value is of another type.
            OutputError: The disk is full, or the file cannot be written for another reason.
        """
        if not self.save_dir:
            return
        checkpoint = {**self._weights(), **self._training_state(), **self.extra, **extra}
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
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}{self._remedy()}") from error
        if self.keep > 0:
            remove_old(self.save_dir, self.keep)

    def has_checkpoint(self) -> bool:
        """Whether ``save_dir`` names a checkpoint to continue from."""
        return has_checkpoint(self.save_dir)

    def last_checkpoint(self) -> Path | None:
        """Return the checkpoint that ``save_dir`` names, or None; raise CheckpointError if it does not exist."""
        return last_checkpoint(self.save_dir)

    def load(self, path_or_url: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """Read a checkpoint (None = the last one of ``save_dir``, see ``read_last``) and ``restore`` it."""
        if path_or_url is not None:
            return self.restore(read_checkpoint(path_or_url), os.fspath(path_or_url))
        found = read_last(self.save_dir)
        if found is None:
            raise CheckpointError(f"no checkpoint: {os.path.join(self.save_dir, TAG_FILE)} does not exist")
        path, checkpoint = found
        return self.restore(checkpoint, str(path))

    def restore(self, checkpoint: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Restore the model, and the other parts that both this object and the checkpoint have.

        Nothing is changed unless everything fits. A missing average starts from the checkpoint's weights.

        Args:
            checkpoint: Result of ``read_checkpoint``.
            source: Origin of the checkpoint, for messages.

        Returns:
            The remaining values of the checkpoint.
        """
        rest = dict(checkpoint)
        average_weights = rest.pop("model")
        weights = rest.pop("training_model", average_weights)
        optimizer_state, scheduler_state = rest.pop("optimizer", None), rest.pop("scheduler", None)
        scaler_state = rest.pop("scaler", None)
        _check_states(checkpoint, source)
        check_model_weights(self.model, weights, source)
        check_model_weights(self.model, average_weights, source)
        if self.optimizer is not None and optimizer_state is not None:
            load_optimizer_state(self.optimizer, optimizer_state, source)
        if self.scheduler is not None and scheduler_state is not None:
            self.scheduler.load_state_dict(scheduler_state)
        if self.scaler is not None and scaler_state is not None:
            self.scaler.load_state_dict(scaler_state)
        self.model.load_state_dict(weights)
        if self.average is not None:
            self.average.load_state_dict(average_weights)
        return rest

    def _remedy(self) -> str:
        """Return the end of the message of a failed ``save``."""
        if not self.has_checkpoint():
            return "; no checkpoint was written before"
        return (
            f"; {self.last_checkpoint()} is unchanged: free some space (CHECKPOINT.KEEP leaves fewer files), and the "
            "same command continues from there"
        )

    def _weights(self) -> dict[str, Any]:
        if self.average is None:
            return {"model": self.model.state_dict()}
        return {"model": self.average.state_dict(), "training_model": self.model.state_dict()}

    def _training_state(self) -> dict[str, Any]:
        scaler = self.scaler if self.scaler is not None and self.scaler.is_enabled() else None
        parts = {"optimizer": self.optimizer, "scheduler": self.scheduler, "scaler": scaler}
        return {name: part.state_dict() for name, part in parts.items() if part is not None}


def load_optimizer_state(optimizer: Optimizer, state_dict: dict[str, Any], source: str) -> None:
    """Restore the accumulated state of an optimizer (momentum, ...), but none of its hyper-parameters.

    Learning rate, momentum and weight decay stay those of the running configuration. If the state belongs to other
    parameters or another kind of optimizer, CheckpointError is raised and nothing is changed.

    Args:
        source: Origin of the state, for messages.
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


def _check_states(checkpoint: Mapping[str, Any], source: str) -> None:
    for name, kinds in _STATES.items():
        state = checkpoint.get(name)
        if state is None:
            continue
        is_state = isinstance(state, dict) and all(isinstance(state.get(key), kind) for key, kind in kinds.items())
        groups = state.get("param_groups", ()) if is_state else ()
        if not is_state or not all(isinstance(group, dict) and "params" in group for group in groups):
            raise CheckpointError(f'{source}: its key "{name}" is not the state of a training')
