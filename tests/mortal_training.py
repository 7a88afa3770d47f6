"""Runs train.py again and again, each time in a process of its own that starts at once, and that can be told to die.

A line of JSON on the standard input, {"args": [...], "output": FILE, "death": [PLACE, COUNT, SIGNAL] or null}, starts a
training whose output goes to FILE. Its process id is answered, and when it has ended, its exit status (negative: the
signal that ended it). With a "death" the process sends itself the signal when it comes to the PLACE for the COUNT-th
time:

- "writing": half of a checkpoint is in its temporary file;
- "written": all of it is, but not yet on the disk;
- "renaming": it is on the disk, but not yet under its name;
- "tagging": it has its name, but the last checkpoint is still the one before;
- "evaluating": an evaluation has written its predictions.

The backbone "forgetful" draws from PyTorch's global generator.
"""

import contextlib
import json
import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter  # noqa: F401  # train.py's imports, once for all

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


def train(args: list[str], output: str, death: list[Any] | None) -> None:
    """Become a training."""
    os.setsid()
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if death is not None:
        arrange(death[0], Death(death[1], death[2]))
    sys.argv = ["train.py", *args]
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")


def answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> None:
    """Answer requests until there are no more."""
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            train(**request)
            return
        answer(pid)
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # its loader's workers, who would go by themselves in some seconds
        answer(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
