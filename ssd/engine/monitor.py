"""What a person sees of a training: log lines, a progress bar, a table of results, curves, TensorBoard."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ssd.engine.analysis_pictures import draw_analysis
from ssd.engine.curves import write_learning_curves
from ssd.engine.evaluation_pictures import draw_evaluation
from ssd.engine.inference import DatasetEvaluation
from ssd.engine.results_table import ResultsTable
from ssd.utils.distributed import is_main
from ssd.utils.metric_logger import MetricLogger

logger = logging.getLogger(__name__)

_Batch = TypeVar("_Batch")


class TrainingMonitor:
    """Collects losses and times, and reports them: losses smoothed (and last), times as means since the last report.

    Of several processes only rank 0 has a bar, a table, curves and event files.

    Args:
        start_iteration: completed iterations.
        max_iter: iterations at the end.
        device: the one that trains, for its memory.
        log_dir: gets TensorBoard's event files; None = no TensorBoard.
        output_dir: gets results.csv, and at the end learning_curves.svg and .png; None = neither.
    """

    def __init__(
        self,
        start_iteration: int,
        max_iter: int,
        device: torch.device,
        log_dir: Path | None = None,
        output_dir: Path | None = None,
    ):
        self.max_iter = max_iter
        self.device = device
        self.losses = MetricLogger()
        self.images_per_step = 0
        self.lr = 0.0
        self._started = self._loaded = 0.0
        self._data_seconds = self._step_seconds = 0.0  # since the last log line
        self._num_steps = 0
        self._total_seconds, self._total_steps = 0.0, 0
        self.writer = _make_writer(log_dir, start_iteration) if is_main() else None
        self.table = ResultsTable(output_dir / "results.csv", start_iteration) if output_dir and is_main() else None
        has_bar = is_main() and sys.stderr.isatty()
        self.bar = tqdm(total=max_iter, initial=start_iteration, unit="it", disable=not has_bar)

    def watch(self, batches: Iterable[_Batch]) -> Iterator[_Batch]:
        """Yield the batches, and take note of how long each was waited for."""
        self._started = time.perf_counter()
        for batch in batches:
            self._loaded = time.perf_counter()
            yield batch
            self._started = time.perf_counter()

    def end_step(self, losses: dict[str, Tensor], num_images: int, lr: float | Tensor) -> None:
        """Take note of an iteration: its losses, its images in all processes, and the learning rate of its step."""
        self.losses.update(**losses)
        self._data_seconds += self._loaded - self._started
        self._step_seconds += time.perf_counter() - self._started
        self._num_steps += 1
        self.images_per_step, self.lr = num_images, float(lr)
        self.bar.update()

    def log(self, iteration: int) -> None:
        """Report the last iterations."""
        started = time.perf_counter()
        losses = str(self.losses)  # waits for the device, whose work belongs to the steps
        self._step_seconds += time.perf_counter() - started
        self._total_seconds += self._step_seconds
        self._total_steps += self._num_steps
        data_time, step_time = self._data_seconds / self._num_steps, self._step_seconds / self._num_steps
        images_per_second = self.images_per_step / step_time
        memory = _memory_in_mebibytes(self.device)
        eta = timedelta(seconds=int(self._total_seconds / self._total_steps * (self.max_iter - iteration)))
        logger.info(
            "iter: %06d, lr: %.5f, %s, data: %.3f, time: %.3f, images/s: %.1f, mem: %dM, eta: %s",
            *(iteration, self.lr, losses, data_time, step_time, images_per_second),
            *(memory, eta),
        )
        self._data_seconds = self._step_seconds = 0.0
        self._num_steps = 0
        self.bar.set_postfix(loss=f"{self.losses.meters['total_loss'].avg:.3f}", refresh=False)
        if self.table:
            last = {name: meter.value for name, meter in self.losses.meters.items()}
            speed = {"images_per_second": round(images_per_second, 2), "memory_mib": memory}
            self.table.add(iteration, {"lr": self.lr, **last, **speed})
        if self.writer:
            for name, meter in self.losses.meters.items():
                self.writer.add_scalar(f"losses/{name}", meter.avg, iteration)
            self.writer.add_scalar("lr", self.lr, iteration)
            self.writer.add_scalar("speed/images_per_second", images_per_second, iteration)

    def log_evaluations(self, iteration: int, evaluations: Sequence[DatasetEvaluation]) -> None:
        """Take metrics and losses into the table, and with pictures of the detections to TensorBoard."""
        for evaluation in evaluations:
            if self.table:
                values = {**evaluation.losses, **evaluation.result.summary}
                self.table.add(iteration, {f"{evaluation.name}/{key}": value for key, value in values.items()})
            if self.writer:
                for key, value in evaluation.result.values.items():
                    self.writer.add_scalar(f"metrics/{evaluation.name}/{key}", value, iteration)
                for key, value in evaluation.losses.items():
                    self.writer.add_scalar(f"validation/{evaluation.name}/{key}", value, iteration)
                for name, picture in (draw_evaluation(evaluation) | draw_analysis(evaluation)).items():
                    self.show(f"{evaluation.name}/{name}", picture, iteration)

    def show(self, name: str, picture: np.ndarray, iteration: int) -> None:
        """Send a picture, RGB uint8 (H, W, 3), to TensorBoard."""
        if self.writer:
            self.writer.add_image(name, picture, iteration, dataformats="HWC")
            self.writer.flush()

    def close(self) -> None:
        """End the progress bar and the event file, and draw the curves."""
        self.bar.close()
        if self.writer:
            self.writer.close()
        if self.table:
            write_learning_curves(self.table)


def _make_writer(log_dir: Path | None, start_iteration: int) -> Any:
    if log_dir is None:
        return None
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and not every run wants it

    # Steps that an earlier run logged after its last checkpoint are trained again: hide the old ones.
    return SummaryWriter(log_dir, purge_step=start_iteration + 1 if start_iteration else None)


def _memory_in_mebibytes(device: torch.device) -> int:
    """The most that was in use so far: of the GPU's memory, or of this process's where there is no GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)
