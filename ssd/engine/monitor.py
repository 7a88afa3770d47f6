"""What a person sees of a training: log lines, a progress bar, TensorBoard."""

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

from ssd.engine.inference import DatasetEvaluation
from ssd.utils.distributed import is_main
from ssd.utils.metric_logger import MetricLogger
from ssd.visualization import draw_detections

logger = logging.getLogger(__name__)

_Batch = TypeVar("_Batch")

_NUM_PICTURES = 4  # images of each test set that TensorBoard shows
_PICTURE_THRESHOLD = 0.5  # least score of the boxes drawn on them


class TrainingMonitor:
    """Collects losses and times, and reports them: losses smoothed (and last), times as means since the last report.

    Of several processes only rank 0 has a bar and event files.

    Args:
        start_iteration: completed iterations.
        max_iter: iterations at the end.
        device: the one that trains, for its memory.
        log_dir: gets TensorBoard's event files; None = no TensorBoard.
    """

    def __init__(self, start_iteration: int, max_iter: int, device: torch.device, log_dir: Path | None = None):
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
        eta = timedelta(seconds=int(self._total_seconds / self._total_steps * (self.max_iter - iteration)))
        logger.info(
            "iter: %06d, lr: %.5f, %s, data: %.3f, time: %.3f, images/s: %.1f, mem: %dM, eta: %s",
            *(iteration, self.lr, losses, data_time, step_time, images_per_second),
            *(_memory_in_mebibytes(self.device), eta),
        )
        self._data_seconds = self._step_seconds = 0.0
        self._num_steps = 0
        self.bar.set_postfix(loss=f"{self.losses.meters['total_loss'].avg:.3f}", refresh=False)
        if self.writer:
            for name, meter in self.losses.meters.items():
                self.writer.add_scalar(f"losses/{name}", meter.avg, iteration)
            self.writer.add_scalar("lr", self.lr, iteration)
            self.writer.add_scalar("speed/images_per_second", images_per_second, iteration)

    def log_evaluations(self, iteration: int, evaluations: Sequence[DatasetEvaluation]) -> None:
        """Send metrics and a few images with their detections to TensorBoard."""
        if not self.writer:
            return
        for evaluation in evaluations:
            for key, value in evaluation.result.values.items():
                self.writer.add_scalar(f"metrics/{evaluation.name}/{key}", value, iteration)
            for index in range(min(_NUM_PICTURES, len(evaluation.dataset))):
                picture = _picture(evaluation, index)
                self.writer.add_image(f"{evaluation.name}/{index}", picture, iteration, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        """End the progress bar and the event file."""
        self.bar.close()
        if self.writer:
            self.writer.close()


def _make_writer(log_dir: Path | None, start_iteration: int) -> Any:
    if log_dir is None:
        return None
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and not every run wants it

    # Steps that an earlier run logged after its last checkpoint are trained again: hide the old ones.
    return SummaryWriter(log_dir, purge_step=start_iteration + 1 if start_iteration else None)


def _picture(evaluation: DatasetEvaluation, index: int) -> np.ndarray:
    image, _, _ = evaluation.dataset[index]
    detections = evaluation.predictions[index].numpy()
    shown = detections["scores"] > _PICTURE_THRESHOLD
    boxes, labels, scores = (detections[name][shown] for name in ("boxes", "labels", "scores"))
    return draw_detections(image, boxes, labels, scores, evaluation.dataset.class_names)


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
