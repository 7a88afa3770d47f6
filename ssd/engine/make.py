"""Parts of a training, built from a config."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from ssd.config import Config
from ssd.data import make_batch_transform, make_test_loader
from ssd.data.datasets import DetectionDataset
from ssd.engine.evaluator import Evaluator
from ssd.engine.finite import FiniteGuard
from ssd.engine.monitor import TrainingMonitor
from ssd.engine.step import Step, TrainingNetwork
from ssd.modeling.detector import CompiledDetector, SSDDetector, build_detection_model
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.device import select_dtype
from ssd.utils.distributed import get_rank, get_world_size, in_turns, parallelise
from ssd.utils.errors import ConfigError
from ssd.weights.initial_model import build_new_model

logger = logging.getLogger(__name__)


def make_detector(cfg: Config, class_names: Sequence[str], device: torch.device, *, is_new: bool) -> SSDDetector:
    """Build the detector that is trained; a new one has its initial weights."""
    with in_turns():
        detector = build_new_model(cfg, class_names) if is_new else build_detection_model(cfg, pretrained=False)
    detector = detector.to(device).to(memory_format=torch.channels_last)  # faster, on CPU and GPU
    if cfg.SOLVER.SYNC_BN and get_world_size() > 1:
        synchronise_batch_norms(detector, device)
    return detector


def synchronise_batch_norms(model: nn.Module, device: torch.device) -> None:
    """Replace the batch norms that are trained by torch.nn.SyncBatchNorm, which PyTorch has for GPUs."""
    if device.type == "cpu":
        raise ConfigError("SOLVER.SYNC_BN needs GPUs: PyTorch has no synchronised batch norm for CPUs; set it to False")
    for module in list(model.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training:  # not the frozen ones
                setattr(module, name, nn.SyncBatchNorm.convert_sync_batchnorm(layer))


def make_step(cfg: Config, detector: SSDDetector, optimizer: Optimizer, dtype: torch.dtype) -> Step:
    """Build the step of SOLVER for a detector that computes in ``dtype``; of several processes all must call this."""
    solver = cfg.SOLVER
    if solver.MICRO_BATCHES > solver.BATCH_SIZE:
        raise ConfigError(
            f"SOLVER.MICRO_BATCHES is {solver.MICRO_BATCHES}, but a batch of {solver.BATCH_SIZE} images "
            f"(SOLVER.BATCH_SIZE, for each process) has no more than {solver.BATCH_SIZE} parts"
        )
    if solver.COMPILE == "reduce-overhead" and solver.MICRO_BATCHES > 1:
        raise ConfigError(
            f"SOLVER.COMPILE reduce-overhead needs SOLVER.MICRO_BATCHES 1, got {solver.MICRO_BATCHES}: a CUDA graph "
            f"overwrites the gradients of the part before; set SOLVER.COMPILE to True"
        )
    network = parallelise(TrainingNetwork(detector, dtype))
    mode = None if solver.COMPILE is True else solver.COMPILE
    return Step(
        torch.compile(network, mode=mode) if solver.COMPILE else network,  # type: ignore[arg-type]
        optimizer,
        FiniteGuard(detector, solver.MAX_NONFINITE_STEPS),
        scaler=GradScaler(next(detector.parameters()).device.type, enabled=dtype == torch.float16),
        max_norm=solver.GRAD_CLIP,
        micro_batches=solver.MICRO_BATCHES,
    )


def make_evaluator(
    cfg: Config,
    detector: SSDDetector,
    test_sets: Sequence[DetectionDataset],
    checkpointer: Checkpointer,
    monitor: TrainingMonitor,
) -> Evaluator:
    """Build the evaluator of ``detector`` on DATASETS.TEST."""
    if not test_sets:
        logger.info("Nothing is evaluated: --skip-test is set, and DATASETS.TEST is empty or --eval_step 0")
    ranks = {"rank": get_rank(), "world_size": get_world_size()}
    named_sets = zip(cfg.DATASETS.TEST, test_sets, strict=False)
    return Evaluator(
        CompiledDetector(detector, cfg.TEST.COMPILE) if cfg.TEST.COMPILE else detector,
        {name: make_test_loader(cfg, dataset, **ranks) for name, dataset in named_sets},
        make_batch_transform(cfg, is_train=False),
        checkpointer,
        monitor=monitor,
        output_dir=Path(cfg.OUTPUT_DIR, "inference"),
        dtype=select_dtype(cfg.TEST.AMP, next(detector.parameters()).device, "TEST.AMP"),
        metric=cfg.TEST.METRIC,
        with_losses=cfg.TEST.VALIDATION_LOSS,
    )
