"""Evaluate a detector: ssd test MODEL [KEY VALUE ...]."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from ssd.commands.arguments import MODEL, Parser
from ssd.commands.run import build_test_sets, run_script, start_trained
from ssd.config import Config
from ssd.data import make_batch_transform, make_test_loader
from ssd.engine.flipped import FlippedDetector
from ssd.engine.inference import DatasetEvaluation, evaluate_datasets
from ssd.modeling.detector import CompiledDetector
from ssd.tools.report import describe_run, write_report
from ssd.utils.device import select_dtype
from ssd.utils.distributed import get_rank, get_world_size
from ssd.utils.files import make_writable
from ssd.weights.loaded_checkpoint import LoadedCheckpoint
from ssd.weights.trained import build_trained_model


def main(args: Sequence[str] | None = None) -> int:
    """Run the command with ``args`` (None = those of the process), and return its exit status."""
    return run_script(lambda: run(parse_args(args)))


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    description = "Evaluate a detector on the datasets of DATASETS.TEST."
    parser = Parser("ssd test", description, "ssd test runs/photos", MODEL)
    parser.add_output("folder of the results (default: inference in OUTPUT_DIR)")
    parser.add_device()
    parser.add_flag("--flip", "", "also detect in the mirrored images, in twice the time")
    parser.add_flag("--report", "", "", default=args is not None)
    parser.add_flag("--no-report", "", "write no report.html", dest="report", action="store_false")
    return parser.parse_model(args)


def run(args: argparse.Namespace) -> None:
    """Evaluate as the command line says."""
    cfg, device, checkpoint = start_trained(args, log_dir=args.output is None, distributed=True)
    output_dir = args.output or Path(cfg.OUTPUT_DIR, "inference")
    make_writable(output_dir, "--output")
    evaluations = evaluate_trained(cfg, checkpoint, device, output_dir, flip=args.flip)
    if args.report:
        facts = describe_run(cfg, args.config_file or f"of {args.ckpt}", checkpoint, device)
        for evaluation in evaluations:
            write_report(evaluation, facts, output_dir / evaluation.name)


def evaluate_trained(
    cfg: Config, checkpoint: LoadedCheckpoint, device: torch.device, output_dir: Path, *, flip: bool = False
) -> list[DatasetEvaluation]:
    """Evaluate a checkpoint on DATASETS.TEST; with ``flip``, also by the mirrored images."""
    class_names, datasets = build_test_sets(cfg, checkpoint)
    model = build_trained_model(cfg, checkpoint, class_names, device)
    loaders = {
        name: make_test_loader(cfg, dataset, rank=get_rank(), world_size=get_world_size())
        for name, dataset in zip(cfg.DATASETS.TEST, datasets, strict=True)
    }
    transform = make_batch_transform(cfg, is_train=False)
    dtype = select_dtype(cfg.TEST.AMP, device, "TEST.AMP", model)
    detector = FlippedDetector(model) if flip else model
    detector = CompiledDetector(detector, cfg.TEST.COMPILE) if cfg.TEST.COMPILE else detector
    return evaluate_datasets(detector, loaders, transform, output_dir=output_dir, dtype=dtype, metric=cfg.TEST.METRIC)
