"""Train a detector: python train.py --config-file configs/vgg_ssd300_voc0712.yaml [KEY VALUE ...]."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ssd.config import Config
from ssd.data import build_datasets, make_batch_transform, make_test_loader, make_train_loader
from ssd.data.datasets import DetectionDataset
from ssd.engine.evaluator import Evaluator
from ssd.engine.initial_model import build_new_model
from ssd.engine.monitor import TrainingMonitor
from ssd.engine.precision import in_precision, make_network, select_dtype
from ssd.engine.setup import (
    INTERRUPTED,
    add_flag,
    make_parser,
    parse_bool,
    run_script,
    save_config,
    start_run,
    with_num_classes,
)
from ssd.engine.step import make_step_options
from ssd.engine.trainer import Periods, train
from ssd.modeling.detector import build_detection_model
from ssd.solver import make_lr_scheduler, make_optimizer
from ssd.utils.checkpoint import Checkpointer, has_checkpoint, read_checkpoint
from ssd.utils.errors import CheckpointError

logger = logging.getLogger("ssd.train")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser("Train a detector. A run continues from OUTPUT_DIR, if that holds a checkpoint.")
    add_flag(parser, "--log_step", type=int, default=10, metavar="N", help="log every N iterations")
    add_flag(parser, "--save_step", type=int, default=2500, metavar="N", help="save a checkpoint every N iterations")
    add_flag(parser, "--eval_step", type=int, default=2500, metavar="N", help="evaluate every N iterations; 0 = never")
    add_flag(parser, "--use_tensorboard", type=parse_bool, default=True, metavar="BOOL", help="write event files")
    add_flag(parser, "--skip-test", action="store_true", help="do not evaluate after training")
    return parser.parse_intermixed_args()


def main() -> int:
    """Train as the command line says; return the exit status."""
    args = parse_args()
    cfg, device = start_run(args)
    max_iter = cfg.SOLVER.MAX_ITER

    train_sets = build_datasets(cfg, is_train=True)
    class_names = train_sets[0].class_names
    test_sets = [] if args.skip_test and args.eval_step <= 0 else build_datasets(cfg, False, class_names)
    cfg = with_num_classes(cfg, class_names)

    is_new = not has_checkpoint(cfg.OUTPUT_DIR)
    model = build_new_model(cfg, class_names) if is_new else build_detection_model(cfg, pretrained=False)
    model = model.to(device).to(memory_format=torch.channels_last)  # faster, on CPU and GPU
    dtype = select_dtype(cfg.SOLVER.AMP, device, "SOLVER.AMP")
    options = make_step_options(cfg, model, dtype)
    average = None if options.average is None else options.average.module
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    checkpointer = Checkpointer(model, optimizer, scheduler, cfg.OUTPUT_DIR, average=average, scaler=options.scaler)
    checkpointer.extra = {"class_names": list(class_names), "config": cfg.dump()}
    start_iteration = 0 if is_new else resume(checkpointer, cfg)
    save_config(cfg)

    log_dir = Path(cfg.OUTPUT_DIR, "tf_logs") if args.use_tensorboard else None
    monitor = TrainingMonitor(start_iteration, max_iter, device, log_dir)
    evaluate = make_evaluator(cfg, model if average is None else average, test_sets, checkpointer, monitor)
    is_complete = train(
        make_network(cfg, model, dtype),
        make_train_loader(cfg, train_sets, start_iteration),
        make_batch_transform(cfg, is_train=True),
        optimizer,
        scheduler,
        start_iteration=start_iteration,
        max_iter=max_iter,
        periods=Periods(args.log_step, args.save_step, args.eval_step),
        monitor=monitor,
        checkpointer=checkpointer,
        evaluate=evaluate,
        options=options,
    )
    if is_complete and not args.skip_test:
        logger.info("Start evaluating...")
        evaluate(max_iter, is_final=True)
    monitor.close()
    return 0 if is_complete else INTERRUPTED


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
        {name: make_test_loader(cfg, dataset) for name, dataset in zip(cfg.DATASETS.TEST, test_sets, strict=False)},
        make_batch_transform(cfg, is_train=False),
        checkpointer,
        monitor=monitor,
        output_dir=Path(cfg.OUTPUT_DIR, "inference"),
        metric=cfg.TEST.METRIC,
    )


def resume(checkpointer: Checkpointer, cfg: Config) -> int:
    """Load the last checkpoint of OUTPUT_DIR, say so, and return the iterations it has completed."""
    path = checkpointer.last_checkpoint()
    state = checkpointer.load()
    class_names = checkpointer.extra["class_names"]
    trained_on = state.get("class_names", class_names)
    if trained_on != class_names:
        raise CheckpointError(
            f"{path} was trained on {', '.join(trained_on[1:])}, but DATASETS.TRAIN has {', '.join(class_names[1:])}; "
            "set another OUTPUT_DIR to start anew"
        )
    best = Path(cfg.OUTPUT_DIR, "model_best.pth")  # may be newer than the checkpoint that is continued from
    checkpointer.extra["best_metric"] = (read_checkpoint(best) if best.is_file() else state).get("best_metric")
    iteration = int(state.get("iteration", 0))
    logger.info("Continuing from %s: iteration %d of %d", path, iteration, cfg.SOLVER.MAX_ITER)
    if iteration >= cfg.SOLVER.MAX_ITER:
        logger.info("Nothing is left to train; raise SOLVER.MAX_ITER, or set another OUTPUT_DIR to start anew")
    return iteration


if __name__ == "__main__":
    sys.exit(run_script(main))
