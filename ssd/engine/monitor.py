"""Display of a training: log lines, progress bar, results.csv, learning curves, first_batch.jpg, TensorBoard."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ssd.engine.inference import DatasetEvaluation
from ssd.engine.results import ResultsTable, describe_result
from ssd.engine.training_pictures import draw_analysis, draw_evaluation
from ssd.utils.distributed import is_main
from ssd.utils.errors import ImageError
from ssd.utils.image import write_image
from ssd.utils.logger import describe_seconds
from ssd.utils.metric_logger import MetricLogger

logger = logging.getLogger(__name__)

_Batch = TypeVar("_Batch")


class TrainingMonitor:
    """Collects losses and times, and reports them: smoothed (and last) losses, mean times since the last report.

    Only rank 0 has a bar, a table, pictures and event files. TensorBoard's go to ``log_dir``, results.csv,
    learning_curves.* and first_batch.jpg to ``output_dir``; None = no such files.
    """

    def __init__(
        self,
        start_iteration: int,
        max_iter: int,
        device: torch.device,
        log_dir: Path | None = None,
        output_dir: Path | None = None,
    ):
        self.max_iter, self.device = max_iter, device
        self.losses = MetricLogger()
        self.images_per_step = 0
        self.lr = 0.0
        self._start = time.monotonic()
        self._started = self._loaded = 0.0
        self._data_seconds = self._step_seconds = 0.0  # since the last log line
        self._num_steps = 0
        self._total_seconds, self._total_steps = 0.0, 0
        self._log_dir, self._start_iteration = log_dir, start_iteration
        self.table = ResultsTable(output_dir / "results.csv", start_iteration) if output_dir and is_main() else None
        has_bar = is_main() and sys.stderr.isatty()
        self.bar = tqdm(total=max_iter, bar_format="{desc}", disable=not has_bar)  # the short line of ``log``

    @cached_property
    def writer(self) -> Any:
        """Return TensorBoard's writer, or None. A run that cannot be built starts none."""
        return _make_writer(self._log_dir, self._start_iteration) if self._log_dir and is_main() else None

    def watch(self, batches: Iterable[_Batch]) -> Iterator[_Batch]:
        """Yield the batches, and measure the time to load each."""
        self._started = time.perf_counter()
        for batch in batches:
            self._loaded = time.perf_counter()
            yield batch
            self._started = time.perf_counter()

    def end_step(self, losses: dict[str, Tensor], num_images: int, lr: float | Tensor) -> None:
        """Record an iteration: its losses, the number of images in all processes, and its learning rate."""
        self.losses.update(**losses)
        self._data_seconds += self._loaded - self._started
        self._step_seconds += time.perf_counter() - self._started
        self._num_steps += 1
        self.images_per_step, self.lr = num_images, float(lr)

    def log(self, iteration: int) -> None:
        """Report the iterations since the last report."""
        started = time.perf_counter()
        losses = str(self.losses)  # waits for the device, whose work belongs to the steps
        self._step_seconds += time.perf_counter() - started
        self._total_seconds += self._step_seconds
        self._total_steps += self._num_steps
        data_time, step_time = self._data_seconds / self._num_steps, self._step_seconds / self._num_steps
        images_per_second = self.images_per_step / step_time
        memory = _memory_in_mebibytes(self.device)
        left = self._total_seconds / self._total_steps * (self.max_iter - iteration)
        short = f"{iteration}/{self.max_iter}  {self._describe_losses()}  {images_per_second:.3g} img/s"
        short += f"  {describe_seconds(left)} left" if left else ""
        logger.info(
            "iter: %06d, lr: %.5f, %s, data: %.3f, time: %.3f, images/s: %.1f, mem: %dM, eta: %s",
            *(iteration, self.lr, losses, data_time, step_time, images_per_second, memory),
            timedelta(seconds=int(left)),
            extra={"short": "" if self.bar.disable is False else short},
        )
        self.bar.set_description_str(short)
        self._data_seconds = self._step_seconds = 0.0
        self._num_steps = 0
        if self.table:
            last = {name: meter.value for name, meter in self.losses.meters.items()}
            speed = {"images_per_second": round(images_per_second, 2), "memory_mib": memory}
            self.table.add(iteration, {"lr": self.lr, **last, **speed})
        scalars = {f"losses/{name}": meter.avg for name, meter in self.losses.meters.items()}
        self._add_scalars({**scalars, "lr": self.lr, "speed/images_per_second": images_per_second}, iteration)

    def _describe_losses(self) -> str:
        """Return the mean losses as text: "loss 3.41 (box 1.20, class 2.21)"."""
        means = {name: meter.avg for name, meter in self.losses.meters.items()}
        names = {"reg_loss": "box", "cls_loss": "class"}
        parts = [f"{names.get(name, name)} {mean:.2f}" for name, mean in means.items() if name != "total_loss"]
        return f"loss {means['total_loss']:.2f}" + (f" ({', '.join(parts)})" if parts else "")

    def log_evaluations(self, iteration: int, evaluations: Sequence[DatasetEvaluation]) -> None:
        """Add metrics and losses to the table and to TensorBoard, there with pictures."""
        for evaluation in evaluations:
            name = evaluation.name
            if self.table:
                values = {**evaluation.losses, **evaluation.result.summary}
                self.table.add(iteration, {f"{name}/{key}": value for key, value in values.items()})
            scalars = {f"metrics/{name}/{key}": value for key, value in evaluation.result.values.items()}
            losses = {f"validation/{name}/{key}": value for key, value in evaluation.losses.items()}
            self._add_scalars({**scalars, **losses}, iteration)
            if self.writer:
                for key, picture in (draw_evaluation(evaluation) | draw_analysis(evaluation)).items():
                    self.show(f"{name}/{key}", picture, iteration)

    def show_first_batch(self, picture: np.ndarray) -> None:
        """Write a picture, RGB uint8 (H, W, 3), to first_batch.jpg and TensorBoard; a failure to write is a warning."""
        self.show("first_batch", picture, 1)
        try:
            if self.table:
                write_image(picture, self.table.path.with_name("first_batch.jpg"))
        except ImageError as error:
            logger.warning("The picture of the first batch is missing: %s", error)

    def show(self, name: str, picture: np.ndarray, iteration: int) -> None:
        """Add a picture, RGB uint8 (H, W, 3), to TensorBoard."""
        if self.writer:
            self.writer.add_image(name, picture, iteration, dataformats="HWC")
            self.writer.flush()

    def close(self, *, is_complete: bool = False) -> None:
        """End the progress bar and the event file, draw the learning curves, and log the result of a complete run."""
        self.bar.close()
        if self.writer:
            self.writer.close()
        if self.table:
            from ssd.engine.learning_curves import write_learning_curves  # matplotlib is slow to import

            write_learning_curves(self.table)
        if self.table and is_complete:
            logger.info(describe_result(self.table.path.parent, time.monotonic() - self._start))

    def _add_scalars(self, values: dict[str, float], iteration: int) -> None:
        if self.writer:
            for name, value in values.items():
                self.writer.add_scalar(name, value, iteration)


def _make_writer(log_dir: Path, start_iteration: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # slow to import
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError) as error:  # of unfit versions, too
        logger.warning("%s is not written, since TensorBoard cannot be imported: %s", log_dir, error)
        return None
    # Iterations after the last checkpoint are trained again: hide their old events.
    return SummaryWriter(log_dir, purge_step=start_iteration + 1 if start_iteration else None)


def _memory_in_mebibytes(device: torch.device) -> int:
    """Peak memory of the GPU, or of this process on a CPU; 0 where it is unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)
