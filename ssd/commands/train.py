"""Train a detector: ssd train --config-file configs/vgg_ssd300_voc0712.yaml [KEY VALUE ...]."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from torch import nn

from ssd.commands.arguments import add_flag, make_parser, parse_bool
from ssd.commands.run import run_script, start_run
from ssd.config import Config
from ssd.config.node import with_num_classes
from ssd.data import build_datasets, make_batch_transform, make_test_loader, make_train_loader
from ssd.data.datasets import DetectionDataset
from ssd.data.samplers import batch_images
from ssd.engine.evaluator import Evaluator
from ssd.engine.finite import FiniteCheck
from ssd.engine.manifest import finish_manifest, start_manifest
from ssd.engine.monitor import TrainingMonitor
from ssd.engine.resume import StoredTraining, find_training, read_training, resume, with_stored_schedule
from ssd.engine.scaling import check_same_processes, describe_scaling, scale_to_processes
from ssd.engine.setup import save_config
from ssd.engine.step import make_step
from ssd.engine.trainer import Intervals, Training, train
from ssd.engine.training_pictures import draw_first_batch, positive_priors, to_pixels
from ssd.modeling.detector import SSDDetector, build_detection_model
from ssd.solver import ModelAverage, make_lr_scheduler, make_optimizer
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.device import select_dtype
from ssd.utils.distributed import broadcast_text, get_rank, get_world_size, in_turns, is_main, said_once
from ssd.utils.errors import ConfigError
from ssd.utils.interrupt import InterruptGuard
from ssd.weights.initial_model import build_new_model

logger = logging.getLogger(__name__)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command with ``args`` (None = those of the process), and return its exit status."""
    parsed = parse_args(args)
    return run_script(lambda: run(parsed))


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    prog = None if args is None else "ssd train"
    parser = make_parser("Train a detector. A run continues from OUTPUT_DIR, if that holds a checkpoint.", prog)
    add_flag(parser, "--log_step", type=int, default=10, metavar="N", help="log every N iterations")
    add_flag(parser, "--save_step", type=int, default=2500, metavar="N", help="save a checkpoint every N iterations")
    add_flag(parser, "--eval_step", type=int, default=2500, metavar="N", help="evaluate every N iterations; 0 = never")
    add_flag(parser, "--use_tensorboard", type=parse_bool, default=True, metavar="BOOL", help="write event files")
    add_flag(parser, "--skip-test", action="store_true", help="do not evaluate after training")
    help_text = "continue with the checkpoint's schedule and learning rate, not the config's"
    add_flag(parser, "--resume_schedule", action="store_true", help=help_text)
    return parser.parse_intermixed_args(args)


def run(args: argparse.Namespace) -> int:
    """Train as the command line says; return the exit status."""
    cfg, device = start_run(args, distributed=True)
    with said_once():
        train_sets = build_datasets(cfg, is_train=True)
        class_names = train_sets[0].class_names
        test_sets = [] if args.skip_test and args.eval_step <= 0 else build_datasets(cfg, False, class_names)
    cfg = with_num_classes(cfg, class_names)
    stored = find_stored(cfg.OUTPUT_DIR)
    if stored is not None and args.resume_schedule:
        cfg = with_stored_schedule(cfg, stored)
    intervals = Intervals(args.log_step, args.save_step, args.eval_step)
    log_dir = Path(cfg.OUTPUT_DIR, "tf_logs") if args.use_tensorboard else None
    training = make_training(cfg, train_sets, test_sets, device, stored, intervals=intervals, log_dir=log_dir)
    save_config(cfg)
    start = training.start_iteration
    start_manifest(cfg, vars(args), train_sets, test_sets, training.detector, device=device, start_iteration=start)
    if stored is None and is_main():
        training = show_first_batch(cfg, training, class_names)
    with training.interrupt:
        is_complete = train(training)
    if is_complete:
        finish(cfg, training, None if args.skip_test else training.evaluate)
    training.monitor.close()
    return 0 if is_complete else training.interrupt.exit_status


def make_training(
    cfg: Config,
    train_sets: Sequence[DetectionDataset],
    test_sets: Sequence[DetectionDataset],
    device: torch.device,
    stored: StoredTraining | None = None,
    *,
    intervals: Intervals,
    log_dir: Path | None = None,
) -> Training:
    """Build every part of a training, and restore them from ``stored`` if there is a checkpoint to continue.

    Args:
        cfg: The configuration, with MODEL.NUM_CLASSES.
        train_sets: Datasets of DATASETS.TRAIN.
        test_sets: Datasets of DATASETS.TEST, or none.
        device: Device of the training.
        stored: Checkpoint to continue from.
        intervals: Iterations between log lines, checkpoints and evaluations.
        log_dir: Folder of TensorBoard's event files; None = no event files.
    """
    class_names = train_sets[0].class_names
    own_cfg = make_own_config(cfg, stored)  # the share of this process
    max_iter = own_cfg.SOLVER.MAX_ITER
    detector = make_detector(cfg, class_names, device, is_new=stored is None)
    average = ModelAverage(detector, cfg.SOLVER.EMA) if cfg.SOLVER.EMA > 0 else None
    optimizer = make_optimizer(own_cfg, detector)
    scheduler = make_lr_scheduler(own_cfg, optimizer)
    step = make_step(own_cfg, detector, optimizer, select_dtype(cfg.SOLVER.AMP, device, "SOLVER.AMP"))
    checkpointer = Checkpointer(
        *(detector, optimizer, scheduler, cfg.OUTPUT_DIR),
        average=average.module if average else None,
        scaler=step.scaler,
        keep=cfg.CHECKPOINT.KEEP,
        safetensors=cfg.CHECKPOINT.SAFETENSORS,
    )
    checkpointer.extra = {"class_names": list(class_names), "config": cfg.dump(), "world_size": get_world_size()}
    start_iteration = resume(checkpointer, cfg, stored, max_iter=max_iter) if stored else 0
    loader = make_train_loader(own_cfg, train_sets, start_iteration, rank=get_rank(), world_size=get_world_size())
    check = FiniteCheck(step.guard, checkpointer, partial(batch_images, loader, train_sets))
    if stored:
        check.resume(stored.checkpoint)
    monitor = TrainingMonitor(start_iteration, max_iter, device, log_dir, Path(cfg.OUTPUT_DIR))
    return Training(
        detector,
        loader,
        make_batch_transform(cfg, is_train=True, rank=get_rank(), world_size=get_world_size()),
        step,
        scheduler,
        average,
        start_iteration,
        max_iter,
        intervals,
        seed=cfg.SOLVER.SEED,
        monitor=monitor,
        checkpointer=checkpointer,
        evaluate=make_evaluator(cfg, average.module if average else detector, test_sets, checkpointer, monitor),
        check=check,
        interrupt=InterruptGuard(patient=get_world_size() > 1),
    )


def show_first_batch(cfg: Config, training: Training, class_names: Sequence[str]) -> Training:
    """Draw the first batch as the network sees it, and return the training with all batches."""
    batches = iter(training.data_loader)
    first = next(batches)
    device = next(training.detector.parameters()).device
    images, targets = first[0].to(device), first[1].to(device)
    pixels = to_pixels(training.batch_transform(images, targets, 0), cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD)
    priors = positive_priors(training.detector.box_head, targets)
    training.monitor.show_first_batch(draw_first_batch(pixels, targets, priors, class_names))
    return replace(training, data_loader=chain([first], batches))


def finish(cfg: Config, training: Training, evaluate: Evaluator | None) -> None:
    """Evaluate the trained model, unless ``evaluate`` is None, and complete the manifest."""
    if evaluate is not None:
        logger.info("Start evaluating...")
        evaluate(training.max_iter, is_final=True)
    model = training.average.module if training.average else training.detector
    finish_manifest(cfg.OUTPUT_DIR, model, () if evaluate is None else cfg.DATASETS.TEST)


def find_stored(output_dir: str) -> StoredTraining | None:
    """Read the checkpoint to continue from, the same in all processes; None if the run is new."""
    stored = find_training(output_dir) if is_main() else None
    path = broadcast_text("" if stored is None else str(stored.path))
    return stored if is_main() or not path else read_training(path)


def make_own_config(cfg: Config, stored: StoredTraining | None) -> Config:
    """Return the config of one process's share of the training, and log what was scaled."""
    world_size = get_world_size()
    if stored is not None:
        check_same_processes(cfg, stored.checkpoint, world_size)
    own_cfg = scale_to_processes(cfg, world_size)
    if world_size > 1:
        logger.info(describe_scaling(cfg, own_cfg, world_size))
    return own_cfg


def make_detector(cfg: Config, class_names: Sequence[str], device: torch.device, *, is_new: bool) -> SSDDetector:
    """Build the detector that is trained; a new one has its initial weights."""
    with in_turns():
        detector = build_new_model(cfg, class_names) if is_new else build_detection_model(cfg, pretrained=False)
    detector = detector.to(device).to(memory_format=torch.channels_last)  # faster, on CPU and GPU
    if cfg.SOLVER.SYNC_BN and get_world_size() > 1:
        synchronise_batch_norms(detector, device)
    return detector


def synchronise_batch_norms(detector: nn.Module, device: torch.device) -> None:
    """Replace the batch norms that are trained by torch.nn.SyncBatchNorm.

    Raises:
        ConfigError: The device is a CPU, for which PyTorch has none.
    """
    if device.type == "cpu":
        raise ConfigError("SOLVER.SYNC_BN needs GPUs: PyTorch has no synchronised batch norm for CPUs; set it to False")
    for module in list(detector.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training:  # not the frozen ones
                setattr(module, name, nn.SyncBatchNorm.convert_sync_batchnorm(layer))


def make_evaluator(
    cfg: Config,
    detector: SSDDetector,
    test_sets: Sequence[DetectionDataset],
    checkpointer: Checkpointer,
    monitor: TrainingMonitor,
) -> Evaluator:
    """Build the evaluator of ``detector`` on DATASETS.TEST."""
    device = next(detector.parameters()).device
    return Evaluator(
        detector,
        {
            name: make_test_loader(cfg, dataset, rank=get_rank(), world_size=get_world_size())
            for name, dataset in zip(cfg.DATASETS.TEST, test_sets, strict=False)
        },
        make_batch_transform(cfg, is_train=False),
        checkpointer,
        monitor=monitor,
        output_dir=Path(cfg.OUTPUT_DIR, "inference"),
        dtype=select_dtype(cfg.TEST.AMP, device, "TEST.AMP"),
        metric=cfg.TEST.METRIC,
        with_losses=cfg.TEST.VALIDATION_LOSS,
    )
