"""What the host does about steps that are not finite: it tells, keeps what reproduces them, and ends the training."""

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch.nn.utils import get_total_norm

from ssd.data.replay import ReplayedBatch
from ssd.engine.finite import BadStep, FiniteGuard
from ssd.engine.reproducer import describe_batch, make_reproducer
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.checkpoint_file import write_checkpoint
from ssd.utils.distributed import is_main, wait_for_all
from ssd.utils.errors import CheckpointError, SSDError, TrainingError, shorten

logger = logging.getLogger(__name__)

_MAX_FILES = 5  # batches that are kept of steps that are left out, beside that of the last one
_COUNT = "nonfinite_steps"  # in checkpoints
_REMEDY = (
    "the training diverged. Lower SOLVER.LR, lengthen SOLVER.WARMUP_ITERS or lower SOLVER.WARMUP_FACTOR, and continue "
    "from an earlier checkpoint"
)


class FiniteCheck:
    """Asks whether steps were left out since the last time, and raises TrainingError when there are too many.

    Of several processes all must call it, and all decide alike; rank 0 writes to the folder of the checkpoints:
    nonfinite_XXXXXX.pth, the batch of iteration XXXXXX (see ``make_reproducer``), and for the step that ends the
    training nonfinite_XXXXXX_model.pth, a checkpoint with the weights that it met, from which no run continues.

    Args:
        guard: leaves the steps out.
        checkpointer: of the training; its ``extra`` gets the number of steps left out.
        replay: makes a batch anew; None = batches are not kept.
    """

    def __init__(
        self,
        guard: FiniteGuard,
        checkpointer: Checkpointer,
        replay: Callable[[int], ReplayedBatch] | None = None,
    ):
        self._guard = guard
        self._checkpointer = checkpointer
        self._replay = replay
        self._count = 0

    def resume(self, checkpoint: Mapping[str, Any]) -> None:
        """Count on from a checkpoint.

        Raises:
            CheckpointError: what it has there is no number of steps.
        """
        count = checkpoint.get(_COUNT, 0)
        if type(count) is not int or not 0 <= count < 2**63:
            raise CheckpointError(f"the checkpoint's {_COUNT} must be 0 or more, but is {shorten(count)}")
        self._guard.count = self._count = count
        if count:  # else a continued run's checkpoints would have a key that an unbroken run's lack
            self._checkpointer.extra[_COUNT] = count

    def __call__(self, iteration: int) -> None:
        """Look at the steps up to ``iteration``, and at the weights; this waits for the device.

        Raises:
            TrainingError: more steps than SOLVER.MAX_NONFINITE_STEPS are not finite, or the weights are not.
        """
        for bad in self._guard.read(iteration):
            self._count += 1
            self._checkpointer.extra[_COUNT] = self._count
            self._report(bad, is_last=self._count > self._guard.limit)
        norm = float(get_total_norm([weight.detach() for weight in self._checkpointer.model.parameters()]))
        if not math.isfinite(norm):  # its last step did that; the next loss would tell, but this must not be saved
            raise TrainingError(f"the norm of the weights is {norm} after iteration {iteration}: {_REMEDY}")

    def _report(self, bad: BadStep, *, is_last: bool) -> None:
        problem = describe(bad)
        files: list[str] = []
        if is_main():
            logger.warning("%s; the step is left out", problem)
            files = self._keep(bad, is_last)
        wait_for_all("saving a batch that is not finite")  # or the launcher ends rank 0 in the midst of it
        if is_last:
            raise TrainingError(f"{problem}: {_REMEDY}{self._hint()}{'; see ' * bool(files)}{' and '.join(files)}")

    def _hint(self) -> str:
        if self._guard.limit:
            return f"; before it {self._guard.limit} such step(s) were left out (SOLVER.MAX_NONFINITE_STEPS)"
        return ", or leave out a few such steps (SOLVER.MAX_NONFINITE_STEPS)"

    def _keep(self, bad: BadStep, is_last: bool) -> list[str]:
        """Write what reproduces a step, as far as the disk and the data permit; return the files."""
        files: list[str] = []
        name = f"nonfinite_{bad.iteration:06d}"
        folder = self._checkpointer.save_dir
        try:
            if folder and self._replay is not None and (is_last or self._count <= _MAX_FILES):
                batch = self._replay(bad.iteration)
                logger.warning("Its images:\n%s", describe_batch(batch, self._checkpointer.extra["class_names"]))
                path = Path(folder, f"{name}.pth")
                path.parent.mkdir(parents=True, exist_ok=True)
                write_checkpoint(path, make_reproducer(bad, batch, self._checkpointer.extra))
                files.append(str(path))
            if folder and is_last:
                self._checkpointer.save(f"{name}_model", tag_last=False, iteration=bad.iteration - 1)
                files.append(f"{name}_model.pth")
        except (OSError, SSDError) as error:  # what ends the training must be told all the same
            logger.warning("What reproduces the step could not be saved: %s", error)
        return files


def describe(bad: BadStep) -> str:
    """Say what is not finite, and when."""
    total, *parts = bad.losses.items()
    values = ", ".join(f"{name} {value:.4g}" for name, value in parts)
    if math.isfinite(total[1]):
        return f"the gradient has the norm {bad.gradient_norm} at iteration {bad.iteration} ({total[0]} {total[1]:.4g})"
    return f"the loss is {total[1]} at iteration {bad.iteration} ({values})"
