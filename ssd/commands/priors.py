"""The command `ssd data anchors`: coverage of the training boxes by the priors of a config, and a fit."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from yacs.config import CfgNode

from ssd.commands.arguments import Parser
from ssd.commands.run import run_script
from ssd.commands.source import SOURCE, add_format, load_source
from ssd.config.files import find_config
from ssd.data.build import build_datasets, make_geometric_steps
from ssd.tools.priors.coverage import ImageBoxes, draw_boxes, read_boxes
from ssd.tools.priors.fit import fit_priors, make_fit_boxes
from ssd.tools.priors.layout import make_layout, with_sizes, write_derived
from ssd.tools.priors.prior_report import make_report
from ssd.tools.priors.verdict import compare
from ssd.utils.errors import ConfigError, DatasetError
from ssd.utils.logger import say, setup_logger


def main(args: Sequence[str]) -> int:
    """Run `ssd data anchors`."""
    return run_script(lambda: run(parse_args(args)))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Read the command line behind `ssd data anchors`."""
    description = "Report how the anchors (priors) of a config cover the boxes of DATASETS.TRAIN, and fit them."
    parser = Parser("ssd data anchors", description, "ssd data anchors mine.yaml --fit fitted.yaml", SOURCE)
    add_format(parser)
    parser.add_output("also write priors.html there; those of fitted anchors to its sub-folder fitted")
    parser.add_flag("--fit", "FILE", "write a config with fitted anchors, which derives from CONFIG")
    parser.add_flag("--max-ratios", "N", "most aspect ratios of a fitted level, up to 4 (default: as now)")
    parser.add_flag("--num-images", "N", "number of images, and of augmented samples", "--num", default=1000)
    parser.add_flag("--seed", "N", "seed of the samples", key="SOLVER.SEED")
    return parser.parse_word(args, "config", "FOLDER or CONFIG")


def run(args: argparse.Namespace) -> int:
    """Measure, fit if asked to, print and write the reports; return the exit status."""
    check_args(args)
    setup_logger(None)
    cfg = load_source(args)
    if args.fit and cfg.MODEL.PRIORS.SHAPES:
        raise ConfigError(
            "--fit chooses MIN_SIZES, MAX_SIZES and ASPECT_RATIOS of MODEL.PRIORS, whose place its SHAPES take; set "
            "SHAPES to []"
        )
    layout = make_layout(cfg)
    boxes, class_names = read_parts(cfg, args.num_images)
    report = make_report(layout, boxes, class_names)
    say(report.to_text())
    if args.output:
        report.write(args.output)
        say(f"\nWritten: {args.output / 'priors.html'}\n")
    if not args.fit:
        return 0
    fitted = fit_priors(layout, make_fit_boxes(boxes.values(), layout.levels.image_size), args.max_ratios)
    cfg = with_sizes(cfg, fitted)
    title = f"{Path(args.config).name} with priors fitted to its training boxes by ssd data anchors --fit."
    write_derived(cfg, args.opts[::2], Path(args.config), args.fit, title)
    after = make_report(make_layout(cfg), boxes, class_names)
    lines = ["", *(f"{name.upper()} {value}" for name, value in fitted._asdict().items())]
    verdict = [*compare(report.parts["data"], after.parts["data"], args.fit), *after.verdict]
    say("\n".join([*lines, *(f"- {sentence}" for sentence in verdict)]) + "\n")
    if args.output:
        after.write(args.output / "fitted")
    return 0


def check_args(args: argparse.Namespace) -> None:
    """Raise ConfigError for options that are wrong."""
    if args.fit and args.fit.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--fit {args.fit} must end in .yaml: it becomes a config")
    if args.fit and os.path.isdir(args.config):
        raise ConfigError(
            f"--fit writes a config that derives from CONFIG, and {args.config} is a folder; name a config"
        )
    if args.fit and args.fit.resolve() == find_config(args.config).resolve():
        raise ConfigError(f"--fit {args.fit} is the config itself; name another file, which will derive from it")
    if args.num_images < 1:
        raise ConfigError(f"--num-images must be at least 1, got {args.num_images}")
    if args.max_ratios is not None and not 0 <= args.max_ratios <= 4:
        raise ConfigError(f"--max-ratios must be between 0 and 4, got {args.max_ratios}")


def read_parts(cfg: CfgNode, num_images: int) -> tuple[dict[str, list[ImageBoxes]], Sequence[str]]:
    """Return the boxes of the data and of the augmented samples, and the class names."""
    datasets, seed = build_datasets(cfg, is_train=True), cfg.SOLVER.SEED
    steps = make_geometric_steps(cfg)
    parts = {"data": read_boxes(datasets, seed, num_images), "augmented": draw_boxes(datasets, steps, seed, num_images)}
    for name, images in parts.items():
        if not any(len(image.labels) for image in images):
            message = f"DATASETS.TRAIN {list(cfg.DATASETS.TRAIN)}: no object in {len(images)} images ({name})"
            raise DatasetError(f"{message}; use more with --num-images, or see ssd data check")
    return parts, datasets[0].class_names
