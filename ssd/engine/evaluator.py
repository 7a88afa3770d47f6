"""Evaluation in the course of a training."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn
from torch.utils.data import DataLoader

from ssd.engine.inference import DatasetEvaluation, evaluate_datasets
from ssd.engine.monitor import TrainingMonitor
from ssd.engine.validation_loss import has_validation_loss
from ssd.evaluation import resolve_metric
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.distributed import broadcast_state, wait_for_all

logger = logging.getLogger(__name__)


class Evaluator:
    """Evaluates a model in training, shows what came of it, and keeps the best model as model_best.pth.

    Several processes share the images, and rank 0 does the rest; all evaluate what rank 0 has trained. The best is that
    with the highest main metric on the first dataset; it is remembered in the checkpoints.

    Args:
        model: what is evaluated: the one that trains, or the average of its weights.
        data_loaders: the test loader of each dataset by name.
        batch_transform: normalises uint8 images on the device.
        checkpointer: saves the model.
        monitor: shows metrics and pictures.
        output_dir: gets a folder a dataset.
        metric: TEST.METRIC.
        has_losses: TEST.VALIDATION_LOSS.

    Raises:
        ConfigError: the metric does not exist or does not fit one of the datasets.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loaders: Mapping[str, DataLoader],
        batch_transform: Callable[[Tensor], Tensor],
        checkpointer: Checkpointer,
        *,
        monitor: TrainingMonitor,
        output_dir: Path,
        metric: str = "auto",
        has_losses: bool = False,
    ):
        for loader in data_loaders.values():
            resolve_metric(metric, loader.dataset.dataset)  # type: ignore[attr-defined]  # now, not after hours
        self.model = model
        self.data_loaders = data_loaders
        self.batch_transform = batch_transform
        self.checkpointer = checkpointer
        self.monitor = monitor
        self.output_dir = output_dir
        self.metric = metric
        self.has_losses = has_losses and has_validation_loss(model)

    def __call__(self, iteration: int, *, is_final: bool = False) -> None:
        """Evaluate after ``iteration`` completed iterations; leaves the model in evaluation mode.

        The result file is named by the iteration, or by the time when ``is_final``.
        """
        broadcast_state(self.model)  # which may have batch statistics of its own
        evaluations = evaluate_datasets(
            self.model,
            self.data_loaders,
            self.batch_transform,
            output_dir=self.output_dir,
            metric=self.metric,
            iteration=None if is_final else iteration,
            has_losses=self.has_losses,
        )
        if evaluations:
            self._report(iteration, evaluations)
        wait_for_all("the evaluation")

    def _report(self, iteration: int, evaluations: Sequence[DatasetEvaluation]) -> None:
        self.monitor.log_evaluations(iteration, evaluations)
        result = evaluations[0].result
        best = self.checkpointer.extra.get("best_metric")
        if not math.isnan(result.main) and (best is None or result.main > best):
            self.checkpointer.extra["best_metric"] = result.main
            self.checkpointer.save("model_best", tag_last=False, iteration=iteration)
            logger.info("Best %s so far: %.4f, kept as model_best.pth", result.main_name, result.main)
