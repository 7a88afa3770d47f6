"""Train a detector: ssd train CONFIG [KEY VALUE ...]."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from ssd.commands.arguments import CONFIG, Parser, parse_bool
from ssd.commands.run import run_script, start_run
from ssd.config import Config
from ssd.config.node import with_num_classes
from ssd.data import build_datasets, make_batch_transform, make_train_loader
from ssd.data.datasets import DetectionDataset
from ssd.data.samplers import batch_images
from ssd.engine.finite import FiniteCheck
from ssd.engine.make import make_detector, make_evaluator, make_step
from ssd.engine.manifest import finish_manifest, start_manifest
from ssd.engine.monitor import TrainingMonitor
from ssd.engine.resume import StoredTraining, find_training, resume, with_stored_schedule
from ssd.engine.setup import config_of_process, save_config
from ssd.engine.trainer import Intervals, Training, train
from ssd.engine.training_pictures import show_first_batch
from ssd.solver import ModelAverage, make_lr_scheduler, make_optimizer
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.device import select_dtype
from ssd.utils.distributed import get_rank, get_world_size, is_main, said_once
from ssd.utils.interrupt import InterruptGuard


def main(args: Sequence[str] | None = None) -> int:
    """Run the command with ``args`` (None = those of the process), and return its exit status."""
    return run_script(lambda: run(parse_args(args)))


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser("ssd train", "Train a detector, or continue a run.", "ssd train quickstart SOLVER.LR 2e-3", CONFIG)
    parser.add_output("folder of the run", key="OUTPUT_DIR", type=str)
    parser.add_device(with_seed=True)
    parser.add_flag("--log-step", "N", "log every N iterations", default=10)
    parser.add_flag("--save-step", "N", "save a checkpoint every N iterations", default=2500)
    parser.add_flag("--eval-step", "N", "evaluate every N iterations, 0 = never (2500; 8 times in a short run)")
    parser.add_flag("--use-tensorboard", "BOOL", "write event files (true)", type=parse_bool, default=True)
    parser.add_flag("--skip-test", "", "do not evaluate after training")
    parser.add_flag("--resume-schedule", "", "continue with the schedule of the checkpoint, not of the config")
    return parser.parse_config(args)


def run(args: argparse.Namespace, *, is_all: bool = True) -> int:
    """Train as the command line says, and log the result if this ``is_all``; return the exit status."""
    return train_config(*start_run(args, distributed=True), args, is_all=is_all)


def train_config(cfg: Config, device: torch.device, args: argparse.Namespace, *, is_all: bool = True) -> int:
    """Train and evaluate by a config and the flags of ``parse_args``; see ``run``."""
    with said_once():
        train_sets = build_datasets(cfg, is_train=True)
        class_names = train_sets[0].class_names
        is_evaluated = not args.skip_test or (args.eval_step != 0 and cfg.DATASETS.TEST)
        test_sets = build_datasets(cfg, False, class_names) if is_evaluated else []
    cfg = with_num_classes(cfg, class_names)
    eval_step = min(2500, max(250, cfg.SOLVER.MAX_ITER // 8)) if args.eval_step is None else args.eval_step
    stored = find_training(cfg.OUTPUT_DIR)
    if stored is not None and args.resume_schedule:
        cfg = with_stored_schedule(cfg, stored)
    intervals = Intervals(args.log_step, args.save_step, eval_step)
    log_dir = Path(cfg.OUTPUT_DIR, "tf_logs") if args.use_tensorboard else None
    training = make_training(cfg, train_sets, test_sets, device, stored, intervals=intervals, log_dir=log_dir)
    if (start := training.start_iteration) < training.max_iter:
        save_config(cfg)
        start_manifest(cfg, vars(args), train_sets, test_sets, training.detector, start_iteration=start)
    elif args.skip_test or (stored and not stored.is_of(cfg)):
        return 0  # the files of the run belong to the config that it was trained with
    if stored is None and is_main():
        training = show_first_batch(training, cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD)
    with training.interrupt:
        is_complete = train(training)
    if is_complete:
        if not args.skip_test:
            training.evaluate(training.max_iter, is_final=True)
        finish_manifest(cfg.OUTPUT_DIR, training.evaluate.detector, () if args.skip_test else cfg.DATASETS.TEST)
    training.monitor.close(is_complete=is_complete and is_all)
    return 0 if is_complete else training.interrupt.exit_status


def make_training(
    cfg: Config,
    train_sets: Sequence[DetectionDataset],
    test_sets: Sequence[DetectionDataset],
    device: torch.device,
    stored: StoredTraining | None,
    *,
    intervals: Intervals,
    log_dir: Path | None = None,
) -> Training:
    """Build every part of a training; they continue from ``stored``, if there is such a checkpoint."""
    class_names = train_sets[0].class_names
    own_cfg = config_of_process(cfg, stored.checkpoint if stored else None)
    solver, ranks = own_cfg.SOLVER, {"rank": get_rank(), "world_size": get_world_size()}
    detector = make_detector(cfg, class_names, device, is_new=stored is None)
    average = ModelAverage(detector, solver.EMA) if solver.EMA > 0 else None
    optimizer = make_optimizer(own_cfg, detector)
    scheduler = make_lr_scheduler(own_cfg, optimizer)
    step = make_step(own_cfg, detector, optimizer, select_dtype(solver.AMP, device, "SOLVER.AMP"))
    checkpointer = Checkpointer(
        *(detector, optimizer, scheduler, cfg.OUTPUT_DIR),
        average=average.module if average else None,
        scaler=step.scaler,
        keep=cfg.CHECKPOINT.KEEP,
        safetensors=cfg.CHECKPOINT.SAFETENSORS,
    )
    checkpointer.extra = {"class_names": list(class_names), "config": cfg.dump(), "world_size": get_world_size()}
    start_iteration = resume(checkpointer, cfg, stored, max_iter=solver.MAX_ITER) if stored else 0
    loader = make_train_loader(own_cfg, train_sets, start_iteration, **ranks)
    check = FiniteCheck(step.guard, checkpointer, partial(batch_images, loader, train_sets))
    if stored:
        check.resume(stored.checkpoint)
    monitor = TrainingMonitor(start_iteration, solver.MAX_ITER, device, log_dir, Path(cfg.OUTPUT_DIR))
    return Training(
        detector,
        average,
        loader,
        make_batch_transform(cfg, is_train=True, **ranks),
        step,
        scheduler,
        start_iteration,
        solver.MAX_ITER,
        solver.SEED,
        intervals,
        monitor,
        checkpointer,
        make_evaluator(cfg, average.module if average else detector, test_sets, checkpointer, monitor),
        check,
        InterruptGuard(patient=get_world_size() > 1),
    )
