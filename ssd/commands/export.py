"""The command `ssd export`: a trained detector as a file for other runtimes, and a report on that file."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ssd.commands.arguments import MODEL, Parser, user_path
from ssd.commands.run import build_test_sets, run_script
from ssd.config import Config
from ssd.data import build_datasets
from ssd.data.datasets import DetectionDataset
from ssd.deploy.checks import check_accuracy, check_latency, check_parity, choose_images, dataset_images, first_images
from ssd.deploy.export import export_onnx, export_program
from ssd.deploy.export_report import ExportReport, format_report, to_json
from ssd.deploy.quantize import quantize_onnx
from ssd.deploy.trained import Trained, load_trained
from ssd.evaluation import resolve_metric
from ssd.inference.sources import Frame, Source, open_source
from ssd.utils.device import describe_machine, limit_threads, package_version
from ssd.utils.errors import ConfigError, DatasetError
from ssd.utils.files import write_json
from ssd.utils.logger import say, setup_logger
from ssd.weights.loaded_checkpoint import trained_class_names
from ssd.weights.trained import read_with_config

logger = logging.getLogger(__name__)

_RUNTIMES = ("torch", "onnxruntime", "openvino")


def main(args: Sequence[str]) -> int:
    """Run `ssd export`; return 1 for an error, or if the exported detector finds something else than the model."""
    return run_script(lambda: export(parse_args(args)))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of `ssd export`."""
    description = (
        "Write a trained detector as an ONNX file or a torch.export program; compare it with the model and time it."
    )
    parser = Parser("ssd export", description, "ssd export runs/photos -o model.onnx", MODEL)
    parser.add_output("ends in .onnx or .pt2 (default: model.onnx in the folder of a run, else MODEL.onnx)", "FILE")
    parser.add_flag("--raw", "", "without resizing, normalisation and NMS: normalised images in, predictions out")
    parser.add_flag("--int8", "", "also write an int8 version, NAME.int8.onnx")
    help_text = "folder or pattern of images for comparison and int8 ranges (default: test and training images)"
    parser.add_flag("--images", "SOURCE", help_text)
    parser.add_flag("--num-images", "N", "images for comparison", "--num", default=10)
    parser.add_flag("--calibration-images", "N", "images for the ranges of int8, chosen at random", default=100)
    parser.add_flag("--evaluate", "", "evaluate the model and the files on DATASETS.TEST")
    parser.add_flag("--skip-latency", "", "do not time the detectors")
    parsed = parser.parse_model(args)
    model = user_path(parsed.ckpt or parsed.config_file or "")
    default = model / "model.onnx" if model.is_dir() else model.with_suffix(".onnx")
    parsed.output = parsed.output or (default if model.exists() else Path(default.name))
    return parsed


def check_args(args: argparse.Namespace) -> None:
    """Raise ConfigError for options that are wrong or contradict each other."""
    if args.output.suffix not in (".onnx", ".pt2"):
        raise ConfigError(f"--output {args.output} must end in .onnx or .pt2 (a program of torch.export)")
    if args.int8 and args.output.suffix != ".onnx":
        raise ConfigError(f"--int8 quantises ONNX files, and --output is {args.output}; let it end in .onnx")
    for name in ("num_images", "calibration_images"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")


def export(args: argparse.Namespace) -> int:
    """Export, check and report; return the exit status."""
    check_args(args)
    setup_logger(None)
    limit_threads()
    cfg, trained, datasets = load(args)
    frames, notes = read_images(cfg, trained, args, datasets)
    calibration = open_calibration_images(cfg, trained, args.images) if args.int8 else None

    write = export_onnx if args.output.suffix == ".onnx" else export_program
    paths = [write(trained.model, args.output, trained.metadata, complete=not args.raw)]
    if calibration is not None:
        images = choose_images(calibration, args.calibration_images, seed=0)
        paths.append(quantize_onnx(args.output, args.output.with_suffix(".int8.onnx"), images))

    machine = describe_machine(torch.device("cpu")) | {name: package_version(name) for name in _RUNTIMES}
    report = ExportReport({path.name: path.stat().st_size for path in paths}, machine, notes=notes)
    if frames:
        logger.info("Comparing with the model")
        check_parity(trained, paths, frames, report)
    if args.evaluate:
        options = {"metric": cfg.TEST.METRIC, "batch_size": cfg.TEST.BATCH_SIZE}
        check_accuracy(trained, paths, datasets, report, **options)
    elif args.int8:
        notes.append("average precision of int8: --evaluate measures it on DATASETS.TEST")
    if not args.skip_latency:
        logger.info("Timing")
        check_latency(trained, paths, frames, report)
    report_path = args.output.with_suffix(".report.json")
    write_json(report_path, to_json(report), indent=2)
    say(f"\n{format_report(report)}\n\nWritten: {', '.join(map(str, [*paths, report_path]))}\n")
    return 0 if report.is_same else 1


def load(args: argparse.Namespace) -> tuple[Config, Trained, dict[str, DetectionDataset]]:
    """Return the config, the detector and, with --evaluate, the datasets of DATASETS.TEST by name."""
    cfg, checkpoint = read_with_config(args.config_file, args.ckpt, args.opts)
    cfg = cfg.with_overrides(["MODEL.DEVICE", "cpu", "TEST.AMP", "off"])
    if not args.evaluate:
        return cfg, load_trained(cfg, checkpoint, trained_class_names(cfg, checkpoint)), {}
    class_names, datasets = build_test_sets(cfg, checkpoint)
    for dataset in datasets:
        resolve_metric(cfg.TEST.METRIC, dataset)
    trained = load_trained(cfg, checkpoint, class_names)
    return cfg, trained, dict(zip(cfg.DATASETS.TEST, datasets, strict=True))


def read_images(
    cfg: Config, trained: Trained, args: argparse.Namespace, datasets: Mapping[str, DetectionDataset]
) -> tuple[list[Frame], list[str]]:
    """Read the images for the comparison; if there are none, return a note that says why."""
    if args.images is not None:
        return first_images(open_source(args.images), args.num_images), []
    try:
        if not datasets:
            built = build_datasets(cfg, is_train=False, class_names=trained.metadata.class_names)
            datasets = dict(zip(cfg.DATASETS.TEST, built, strict=True))
    except (ConfigError, DatasetError) as error:
        logger.warning("No images for the comparison with the model: %s", error)
        return [], [f"whether the exported detector finds the same as the model: set --images. {error}"]
    return first_images(dataset_images(datasets), args.num_images), []


def open_calibration_images(cfg: Config, trained: Trained, images: str | None) -> Source:
    """Open the images for the ranges of int8, by default those of DATASETS.TRAIN, since TEST measures the result."""
    if images is not None:
        return open_source(images)
    try:
        datasets = build_datasets(cfg, is_train=True, class_names=trained.metadata.class_names)
    except (ConfigError, DatasetError) as error:
        raise type(error)(f"--int8 needs images; set --images, or fix DATASETS.TRAIN: {error}") from error
    return dataset_images(dict(zip(cfg.DATASETS.TRAIN, datasets, strict=True)))
