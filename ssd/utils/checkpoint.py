"""Saving and restoring a training, and loading weights into a model that they must fit."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ssd.utils.atomic import atomic_write
from ssd.utils.checkpoint_file import nearest_checkpoints, read_checkpoint, write_checkpoint
from ssd.utils.errors import CheckpointError

TAG_FILE = "last_checkpoint.txt"

_MAX_LISTED = 10


class Checkpointer:
    """Saves and restores a training, and remembers the newest checkpoint of a folder.

    Args:
        model: the network; a DistributedDataParallel is saved and restored as what it wraps.
        optimizer: saved and restored with it, if given.
        scheduler: likewise. Restored after the optimizer, so that it has the last word on the learning rate.
        save_dir: the folder of the checkpoints; empty = ``save`` does nothing.
        average: holds the average of the model's weights. Then these are the "model" of a checkpoint, which detects,
            and those of the model itself, from which a training continues, its "training_model".
        scaler: of float16 gradients.

    Attributes:
        extra: values that every checkpoint carries besides (class names, the config, ...), under the types that
            ``save`` takes.
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
    ):
        self.model = model.module if isinstance(model, DistributedDataParallel) else model
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.average = average
        self.scaler = scaler
        self.save_dir = os.fspath(save_dir)
        self.extra: dict[str, Any] = {}

    def save(self, name: str, *, tag_last: bool = True, **extra: Any) -> None:
        """Write ``save_dir/name.pth``, whole or not at all. In a distributed run only rank 0 calls this.

        Args:
            name: the file name without its suffix.
            tag_last: whether this becomes the checkpoint that a later run continues from.
            extra: further values to keep (``iteration``, ``class_names``, ...): numbers, strings, tensors, and lists,
                tuples and dictionaries of them.

        Raises:
            TypeError: a value is of another type.
        """
        if not self.save_dir:
            return
        checkpoint = {**self._weights(), **self._training_state(), **self.extra, **extra}
        path = os.path.join(self.save_dir, f"{name}.pth")
        os.makedirs(self.save_dir, exist_ok=True)
        write_checkpoint(path, checkpoint)
        if tag_last:
            with atomic_write(Path(self.save_dir, TAG_FILE)) as file:
                file.write(path.encode())

    def has_checkpoint(self) -> bool:
        """Whether ``save_dir`` names a checkpoint to continue from."""
        return has_checkpoint(self.save_dir)

    def last_checkpoint(self) -> Path | None:
        """Return the checkpoint that ``save_dir`` names, or None.

        Raises:
            CheckpointError: it names a file that does not exist.
        """
        if not self.has_checkpoint():
            return None
        tag = Path(self.save_dir, TAG_FILE)
        written = Path(tag.read_text(encoding="utf-8").strip())
        # The file beside the tag comes first: the folder may have been copied or moved since the path was written.
        for path in (tag.parent / written.name, written):
            if path.is_file():
                return path
        raise CheckpointError(
            f"{tag} names {str(written)!r}, which does not exist{nearest_checkpoints(tag.parent / written.name)}; "
            "name a checkpoint yourself, or delete that file to start anew"
        )

    def load(self, path_or_url: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """Restore the model, and what else both this object and the file have of a training.

        Nothing is changed unless everything fits. An average that the file lacks starts from its weights.

        Args:
            path_or_url: the checkpoint; None = the last one of ``save_dir``.

        Returns:
            The remaining values of the checkpoint.

        Raises:
            CheckpointError: there is no checkpoint, it is damaged, or it does not fit.
        """
        source = self.last_checkpoint() if path_or_url is None else path_or_url
        if source is None:
            raise CheckpointError(f"no checkpoint: {os.path.join(self.save_dir, TAG_FILE)} does not exist")
        checkpoint = read_checkpoint(source)
        average_weights = checkpoint.pop("model")
        weights = checkpoint.pop("training_model", average_weights)
        optimizer_state, scheduler_state = checkpoint.pop("optimizer", None), checkpoint.pop("scheduler", None)
        scaler_state = checkpoint.pop("scaler", None)
        check_model_weights(self.model, weights, os.fspath(source))
        check_model_weights(self.model, average_weights, os.fspath(source))
        if self.optimizer is not None and optimizer_state is not None:
            load_optimizer_state(self.optimizer, optimizer_state, os.fspath(source))
        if self.scheduler is not None and scheduler_state is not None:
            self.scheduler.load_state_dict(scheduler_state)
        if self.scaler is not None and scaler_state is not None:
            self.scaler.load_state_dict(scaler_state)
        self.model.load_state_dict(weights)
        if self.average is not None:
            self.average.load_state_dict(average_weights)
        return checkpoint

    def _weights(self) -> dict[str, Any]:
        if self.average is None:
            return {"model": self.model.state_dict()}
        return {"model": self.average.state_dict(), "training_model": self.model.state_dict()}

    def _training_state(self) -> dict[str, Any]:
        scaler = self.scaler if self.scaler is not None and self.scaler.is_enabled() else None
        parts = {"optimizer": self.optimizer, "scheduler": self.scheduler, "scaler": scaler}
        return {name: part.state_dict() for name, part in parts.items() if part is not None}


def has_checkpoint(save_dir: str | os.PathLike[str]) -> bool:
    """Whether a folder names a checkpoint to continue from; an empty name is no folder."""
    return bool(os.fspath(save_dir)) and Path(save_dir, TAG_FILE).is_file()


def load_model_weights(model: nn.Module, state_dict: dict[str, Tensor], source: str) -> None:
    """Load weights that must fit the model exactly.

    Args:
        model: changed only if all weights fit.
        state_dict: the weights by name.
        source: where they come from, for error messages.

    Raises:
        CheckpointError: names or shapes differ.
    """
    check_model_weights(model, state_dict, source)
    model.load_state_dict(state_dict)


def matches_any(name: str, patterns: Sequence[str]) -> bool:
    """Whether one of the regular expressions matches from the start of a tensor's name."""
    return any(re.match(pattern, name) for pattern in patterns)


def check_model_weights(model: nn.Module, state_dict: dict[str, Tensor], source: str) -> None:
    """Raise CheckpointError that lists the differences if names or shapes are not those of the model."""
    expected = model.state_dict()
    missing = [name for name in expected if name not in state_dict]
    unexpected = [name for name in state_dict if name not in expected]
    misshapen = [name for name in expected if name in state_dict and expected[name].shape != state_dict[name].shape]
    if not (missing or unexpected or misshapen):
        return
    lines = [
        *_listing("in the model but not in the checkpoint", missing),
        *_listing("in the checkpoint but not in the model", unexpected),
        *_listing(
            "of another shape",
            [f"{name} {_shape(state_dict[name])}, the model has {_shape(expected[name])}" for name in misshapen],
        ),
    ]
    if not (missing or unexpected) and all(".cls_headers." in name for name in misshapen):
        lines.append("Only the classification headers differ: the checkpoint has another class count (NUM_CLASSES).")
    raise CheckpointError("\n".join([f"{source} does not fit the model:", *lines]))


def load_optimizer_state(optimizer: Optimizer, state_dict: dict[str, Any], source: str) -> None:
    """Restore what the optimizer has accumulated (momentum, ...) but none of its hyper-parameters.

    Learning rate, momentum, weight decay and the like stay those of the running configuration: a user who changes
    them between two runs means it.

    Args:
        optimizer: changed only if the state fits.
        state_dict: ``Optimizer.state_dict()`` of an optimizer over the same parameters.
        source: where it comes from, for error messages.

    Raises:
        CheckpointError: the state belongs to other parameters, or to another kind of optimizer.
    """
    running, saved = optimizer.state_dict()["param_groups"], state_dict["param_groups"]
    sizes, saved_sizes = ([len(group["params"]) for group in groups] for groups in (running, saved))
    if sizes != saved_sizes:
        raise CheckpointError(
            f"{source}: its optimizer has parameter groups of {saved_sizes} tensors, this one of {sizes}; "
            "load only the weights and start the training anew"
        )
    if ("betas" in running[0]) != ("betas" in saved[0]):  # Adam and its kin have them, SGD has not
        raise CheckpointError(
            f"{source}: its optimizer is of another kind than {type(optimizer).__name__}; set SOLVER.OPTIMIZER as it "
            "was, or another OUTPUT_DIR to start anew"
        )
    groups = [{**now, "params": then["params"]} for now, then in zip(running, saved, strict=True)]
    optimizer.load_state_dict({"state": state_dict["state"], "param_groups": groups})
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                # In the parameter's layout in memory: fused optimizers go through both in one order.
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _listing(title: str, items: list[str]) -> list[str]:
    """One line for up to ten items, or none."""
    if not items:
        return []
    rest = f"; and {len(items) - _MAX_LISTED} more" if len(items) > _MAX_LISTED else ""
    return [f"  {title} ({len(items)}): {'; '.join(items[:_MAX_LISTED])}{rest}"]


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
