"""Runs train.py, in a process group of its own, with the backbone "forgetful", which draws random numbers.

With DEATH="PLACE COUNT SIGNAL" in the environment the process sends itself the signal when it comes to the PLACE for
the COUNT-th time:

- "writing": half of a checkpoint is in its temporary file;
- "written": all of it is, but not yet on the disk;
- "renaming": it is on the disk, but not yet under its name;
- "tagging": it has its name, but the last checkpoint is still the one before;
- "evaluating": an evaluation has written its predictions.
"""

import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

import ssd.engine.inference
from ssd.modeling import registry
from ssd.modeling.backbone.tiny import Tiny
from ssd.utils.checkpoint import TAG_FILE

ROOT = Path(__file__).parents[1]


@registry.BACKBONES.register("forgetful")
class Forgetful(nn.Module):
    """The tiny network with dropout."""

    def __init__(self, cfg: Any, pretrained: bool):
        super().__init__()
        self.body = Tiny()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(nn.functional.dropout(feature, 0.1, self.training) for feature in self.body(images))


class Death:
    """Sends this process a signal at the ``count``-th call."""

    def __init__(self, count: int, number: int):
        self.count = count
        self.number = number

    def __call__(self) -> None:
        self.count -= 1
        if self.count == 0:
            os.kill(os.getpid(), self.number)


class HalfWritten:
    """A file that calls ``at_half`` when ``half`` bytes are in it."""

    def __init__(self, file: BinaryIO, half: int, at_half: Callable[[], None]):
        self.file = file
        self.half = half
        self.at_half = at_half

    def write(self, data: bytes) -> int:
        before = self.file.tell()
        count = self.file.write(data)
        if before < self.half <= self.file.tell():
            self.file.flush()
            self.at_half()
        return count

    def flush(self) -> None:
        self.file.flush()


def arrange(place: str, death: Death) -> None:
    """Let ``death`` be called at the place."""
    save, replace, save_predictions = torch.save, os.replace, ssd.engine.inference.save_predictions

    def save_and_die(content: Any, file: BinaryIO) -> None:
        is_checkpoint = isinstance(content, dict)
        size = sum(weight.nbytes for weight in content["model"].values()) if is_checkpoint else 0
        if place == "writing" and is_checkpoint:
            save(content, HalfWritten(file, size // 2, death))
        else:
            save(content, file)
        if place == "written" and is_checkpoint:
            file.flush()
            death()

    def replace_and_die(source: Any, target: Any) -> None:
        name = Path(target).name
        if (place == "renaming" and name.endswith(".pth")) or (place == "tagging" and name == TAG_FILE):
            death()
        replace(source, target)

    def predict_and_die(predictions: Any, path: Path) -> None:
        save_predictions(predictions, path)
        if place == "evaluating":
            death()

    torch.save, os.replace = save_and_die, replace_and_die
    ssd.engine.inference.save_predictions = predict_and_die


if __name__ == "__main__":
    os.setsid()
    if "DEATH" in os.environ:
        where, count, number = os.environ["DEATH"].split()
        arrange(where, Death(int(count), int(number)))
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
