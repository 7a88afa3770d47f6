"""Train a detector: ssd train --config-file configs/vgg_ssd300_voc0712.yaml [KEY VALUE ...]."""

import argparse
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ssd.config import Config
from ssd.data import build_datasets, make_batch_transform, make_test_loader, make_train_loader
from ssd.data.datasets import DetectionDataset
from ssd.data.replay import BatchReplay
from ssd.engine.evaluator import Evaluator
from ssd.engine.finite_check import FiniteCheck
from ssd.engine.first_batch import make_first_batch
from ssd.engine.manifest import finish_manifest, start_manifest
from ssd.engine.monitor import TrainingMonitor
from ssd.engine.precision import in_precision, make_network, select_dtype
from ssd.engine.resume import StoredTraining, find_training, read_training, resume, with_stored_schedule
from ssd.engine.scaling import check_same_processes, describe_scaling, scale_to_processes
from ssd.engine.setup import add_flag, make_parser, parse_bool, run_script, save_config, start_run, with_num_classes
from ssd.engine.step import StepOptions, make_step_options
from ssd.engine.trainer import BatchTransform, Periods, Stepper, train
from ssd.modeling.detector import build_detection_model
from ssd.modeling.sync_batch_norm import synchronise_batch_norm
from ssd.solver import make_lr_scheduler, make_optimizer
from ssd.utils.checkpoint import Checkpointer
from ssd.utils.distributed import broadcast_text, get_rank, get_world_size, in_turns, is_main, said_once
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
    return train_config(cfg, args, device, stored, train_sets=train_sets, test_sets=test_sets)


def train_config(
    cfg: Config,
    args: argparse.Namespace,
    device: torch.device,
    stored: StoredTraining | None,
    *,
    train_sets: Sequence[DetectionDataset],
    test_sets: Sequence[DetectionDataset],
) -> int:
    """Build the training of a config, or continue it, and see it through; return the exit status."""
    class_names = train_sets[0].class_names
    own_cfg = make_own_config(cfg, stored)
    max_iter = own_cfg.SOLVER.MAX_ITER
    model = make_model(cfg, class_names, device, is_new=stored is None)
    dtype = select_dtype(cfg.SOLVER.AMP, device, "SOLVER.AMP")
    options = make_step_options(own_cfg, model, dtype)
    optimizer = make_optimizer(own_cfg, model)
    scheduler = make_lr_scheduler(own_cfg, optimizer)
    checkpointer = make_checkpointer(cfg, model, optimizer, scheduler, options=options, class_names=class_names)
    start_iteration = 0 if stored is None else resume(checkpointer, cfg, stored, max_iter=max_iter)
    share = {"rank": get_rank(), "world_size": get_world_size()}
    loader = make_train_loader(own_cfg, train_sets, start_iteration, **share)
    check = make_check(options, checkpointer, BatchReplay(loader, cfg.DATASETS.TRAIN, train_sets), stored)
    save_config(cfg)
    start_manifest(cfg, vars(args), train_sets, test_sets, model, device=device, start_iteration=start_iteration)

    log_dir = Path(cfg.OUTPUT_DIR, "tf_logs") if args.use_tensorboard else None
    monitor = TrainingMonitor(start_iteration, max_iter, device, log_dir, Path(cfg.OUTPUT_DIR))
    evaluate = make_evaluator(cfg, options.evaluated(model), test_sets, checkpointer, monitor)
    batch_transform = make_training_transform(cfg, model, class_names, monitor, is_new=stored is None)
    network = make_network(cfg, model, dtype)
    interrupt = InterruptGuard(patient=get_world_size() > 1)
    is_complete = train(
        Stepper(network, batch_transform, optimizer, scheduler, cfg.SOLVER.SEED, options),
        loader,
        start_iteration,
        max_iter,
        Periods(args.log_step, args.save_step, args.eval_step),
        monitor=monitor,
        checkpointer=checkpointer,
        evaluate=evaluate,
        check=check,
        interrupt=interrupt,
    )
    if is_complete:
        finish(cfg, options.evaluated(model), None if args.skip_test else partial(evaluate, max_iter, is_final=True))
    monitor.close()
    return 0 if is_complete else interrupt.exit_status


def finish(cfg: Config, model: nn.Module, evaluate: Callable[[], None] | None) -> None:
    """Evaluate what was trained, unless ``evaluate`` is None, and add it to the manifest."""
    if evaluate is not None:
        logger.info("Start evaluating...")
        evaluate()
    finish_manifest(cfg.OUTPUT_DIR, model, () if evaluate is None else cfg.DATASETS.TEST)


def find_stored(output_dir: str) -> StoredTraining | None:
    """Read the checkpoint to continue from, the same in all processes; None if the run is new."""
    stored = find_training(output_dir) if is_main() else None
    path = broadcast_text("" if stored is None else str(stored.path))
    return stored if is_main() or not path else read_training(path)


def make_own_config(cfg: Config, stored: StoredTraining | None) -> Config:
    """Return the config of one process's share of the training, and say what it has scaled."""
    world_size = get_world_size()
    if stored is not None:
        check_same_processes(cfg, stored.checkpoint, world_size)
    own_cfg = scale_to_processes(cfg, world_size)
    if world_size > 1:
        logger.info(describe_scaling(cfg, own_cfg, world_size))
    return own_cfg


def make_model(cfg: Config, class_names: Sequence[str], device: torch.device, *, is_new: bool) -> nn.Module:
    """Build the detector that is trained; a new one has the weights to start from."""
    with in_turns():
        model = build_new_model(cfg, class_names) if is_new else build_detection_model(cfg, pretrained=False)
    model = model.to(device).to(memory_format=torch.channels_last)  # faster, on CPU and GPU
    if cfg.SOLVER.SYNC_BN and get_world_size() > 1:
        synchronise_batch_norm(model)
    return model


def make_checkpointer(
    cfg: Config,
    model: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    *,
    options: StepOptions,
    class_names: Sequence[str],
) -> Checkpointer:
    """Build what saves and restores the training in OUTPUT_DIR."""
    checkpointer = Checkpointer(
        *(model, optimizer, scheduler, cfg.OUTPUT_DIR),
        average=None if options.average is None else options.average.module,
        scaler=options.scaler,
        keep=cfg.CHECKPOINT.KEEP,
        safetensors=cfg.CHECKPOINT.SAFETENSORS,
    )
    checkpointer.extra = {"class_names": list(class_names), "config": cfg.dump(), "world_size": get_world_size()}
    return checkpointer


def make_check(
    options: StepOptions, checkpointer: Checkpointer, replay: BatchReplay, stored: StoredTraining | None
) -> FiniteCheck:
    """Build what ends the training if it diverges; it counts on from the checkpoint that is continued."""
    assert options.guard is not None
    check = FiniteCheck(options.guard, checkpointer, replay)
    if stored is not None:
        check.resume(stored.checkpoint)
    return check


def make_training_transform(
    cfg: Config, model: nn.Module, class_names: Sequence[str], monitor: TrainingMonitor, *, is_new: bool
) -> BatchTransform:
    """Build what colours and normalises the batches; at the start of a training rank 0 draws the first one."""
    transform = make_batch_transform(cfg, is_train=True, rank=get_rank(), world_size=get_world_size())
    if not is_new or not is_main():
        return transform
    show = partial(monitor.show, "first_batch", iteration=1)
    return make_first_batch(cfg, transform, detector=model, class_names=class_names, show=show)


def make_evaluator(
    cfg: Config,
    model: nn.Module,
    test_sets: Sequence[DetectionDataset],
    checkpointer: Checkpointer,
    monitor: TrainingMonitor,
) -> Evaluator:
    """Build what evaluates ``model`` on DATASETS.TEST in the course of the training."""
    device = next(model.parameters()).device
    return Evaluator(
        in_precision(model, device.type, select_dtype(cfg.TEST.AMP, device, "TEST.AMP")),
        {
            name: make_test_loader(cfg, dataset, rank=get_rank(), world_size=get_world_size())
            for name, dataset in zip(cfg.DATASETS.TEST, test_sets, strict=False)
        },
        make_batch_transform(cfg, is_train=False),
        checkpointer,
        monitor=monitor,
        output_dir=Path(cfg.OUTPUT_DIR, "inference"),
        metric=cfg.TEST.METRIC,
        has_losses=cfg.TEST.VALIDATION_LOSS,
    )
