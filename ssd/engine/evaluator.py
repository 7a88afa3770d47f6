"""Evaluation in the course of a training."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ssd.engine.inference import DatasetEvaluation, evaluate_datasets
from ssd.engine.monitor import TrainingMonitor
from ssd.evaluation import resolve_metric
from ssd.evaluation.analysis import find_score_thresholds
from ssd.modeling.detector import SSDDetector
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.distributed import broadcast_state, wait_for_all

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluator:
    """Evaluate a detector during its training, show the result, and keep the best as model_best.pth.

    Several processes share the images, and rank 0 does the rest; all evaluate the weights of rank 0. The best is that
    with the highest main metric on the first dataset; checkpoints store its value, and the score thresholds of the
    highest F1. The arguments are those of ``evaluate_datasets``.
    """

    detector: SSDDetector
    data_loaders: Mapping[str, DataLoader]
    batch_transform: Callable[[Tensor], Tensor]
    checkpointer: Checkpointer
    _: KW_ONLY
    monitor: TrainingMonitor
    output_dir: Path
    dtype: torch.dtype = torch.float32
    metric: str = "auto"
    with_losses: bool = False

    def __post_init__(self) -> None:
        for loader in self.data_loaders.values():
            resolve_metric(self.metric, loader.dataset.dataset)  # type: ignore[attr-defined]  # now, not after hours

    def __call__(self, iteration: int, *, is_final: bool = False) -> None:
        """Evaluate after ``iteration`` completed iterations, and leave the detector in evaluation mode."""
        broadcast_state(self.detector)  # batch statistics may differ between processes
        evaluations = evaluate_datasets(
            self.detector,
            self.data_loaders,
            self.batch_transform,
            output_dir=self.output_dir,
            dtype=self.dtype,
            metric=self.metric,
            iteration=None if is_final else iteration,
            with_losses=self.with_losses,
        )
        if evaluations:
            self._report(iteration, evaluations, is_final=is_final)
        wait_for_all("the evaluation")

    def _report(self, iteration: int, evaluations: Sequence[DatasetEvaluation], *, is_final: bool) -> None:
        self.monitor.log_evaluations(iteration, evaluations)
        first, extra = evaluations[0], self.checkpointer.extra
        result, best = first.result, extra.get("best_metric")
        is_best = not math.isnan(result.main) and (best is None or result.main > best)
        if is_best or is_final:
            before = extra.get("score_thresholds")
            extra["score_thresholds"] = find_score_thresholds(first.dataset, first.predictions, metric=self.metric)
            if is_final and extra["score_thresholds"] != before:
                self.checkpointer.save("model_final", iteration=iteration)  # it was saved before it was evaluated
        if is_best:
            extra["best_metric"] = result.main
            self.checkpointer.save("model_best", tag_last=False, iteration=iteration)
            logger.info("Best %s so far: %.4f, kept as model_best.pth", result.main_name, result.main)
