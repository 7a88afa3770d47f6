"""The command `ssd priors`: how the priors of a config cover its training boxes, before any training, and a fit."""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from yacs.config import CfgNode

from ssd.commands.arguments import add_config_arguments, add_flag
from ssd.commands.run import run_script
from ssd.config import load_config
from ssd.data import build_datasets
from ssd.data.transforms.geometry import GeometricSteps
from ssd.tools.priors.boxes import ImageBoxes, draw_boxes, read_boxes
from ssd.tools.priors.derived_config import derived_yaml, write_config
from ssd.tools.priors.finer import find_finer_index
from ssd.tools.priors.fit import fit_priors
from ssd.tools.priors.layout import Layout, make_layout, with_priors
from ssd.tools.priors.measure import Coverage, measure
from ssd.tools.priors.objective import make_fit_boxes
from ssd.tools.priors.pictures import draw_pictures
from ssd.tools.priors.report import PriorReport, make_levels, make_part
from ssd.tools.priors.text import report_to_text, verdict_lines
from ssd.tools.priors.verdict import compare, describe_finer_level, make_verdict
from ssd.utils.errors import ConfigError, DatasetError, OutputError, os_errors_as
from ssd.utils.files import write_text
from ssd.utils.terminal import say
from ssd.visualization.theme import figure_to_svg

logger = logging.getLogger(__name__)

_MAX_FIT_BOXES = 5000  # of the data, and of the stream


def main(args: Sequence[str]) -> int:
    """Run `ssd priors`."""
    parsed = parse_args(args)
    return run_script(lambda: run(parsed))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Read the command line behind `ssd priors`."""
    parser = argparse.ArgumentParser(
        prog="ssd priors",
        description="Tell how the priors of a config cover the boxes of DATASETS.TRAIN, and fit them to these.",
    )
    add_config_arguments(parser)
    help_text = "also write priors.json and pictures there; those of fitted priors into its sub-folder fitted"
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help=help_text)
    help_text = "write a config with fitted priors, which derives from CONFIG"
    parser.add_argument("--fit", type=Path, metavar="OUT.yaml", help=help_text)
    help_text = "aspect ratios of a level of the fit at most; default: as many as the level has"
    add_flag(parser, "--max_ratios", type=int, default=None, metavar="N", help=help_text)
    help_text = "images, and samples of the augmentation, to look at; default 1000"
    add_flag(parser, "--num_images", type=int, default=1000, metavar="N", help=help_text)
    return parser.parse_intermixed_args(args)


def run(args: argparse.Namespace) -> int:
    """Measure, write the report to the standard output, and fit if asked to; return the exit status.

    Raises:
        ConfigError: the configuration or an option is wrong.
        DatasetError: a dataset is missing or malformed, or has no object.
        OutputError: a file cannot be written.
    """
    check_args(args)
    cfg = load_config(args.config, args.opts)
    layout = make_layout(cfg)
    groups, class_names = read_groups(cfg, args.num_images)
    finer = describe_finer_level(cfg.MODEL.BACKBONE.NAME, *find_finer_index(cfg))
    report, coverages = make_report(layout, groups, class_names, finer)
    say(report_to_text(report))
    if args.output:
        write_report(args.output, report, layout, coverages)
    if args.fit:
        fit(args, cfg, layout, groups, class_names, finer=finer, before=report)
    return 0


def check_args(args: argparse.Namespace) -> None:
    """Raise ConfigError for options that are wrong."""
    if args.fit and args.fit.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--fit {args.fit} must end in .yaml: it becomes a config")
    if args.fit and args.fit.resolve() == Path(args.config).resolve():
        raise ConfigError(f"--fit {args.fit} is the config itself; name another file, which will derive from it")
    if args.num_images < 1:
        raise ConfigError(f"--num_images must be at least 1, got {args.num_images}")
    if args.max_ratios is not None and not 0 <= args.max_ratios <= 4:
        raise ConfigError(f"--max_ratios must be between 0 and 4, got {args.max_ratios}")


def read_groups(cfg: CfgNode, num_images: int) -> tuple[dict[str, list[ImageBoxes]], Sequence[str]]:
    """Return the boxes of the data and of the augmentation's stream, and the class names."""
    datasets = build_datasets(cfg, is_train=True)
    augmentation, seed = cfg.INPUT.AUGMENTATION, cfg.SOLVER.SEED
    steps = GeometricSteps(expand=augmentation.EXPAND, crop=augmentation.CROP, mirror=augmentation.MIRROR)
    groups = {
        "data": read_boxes(datasets, seed, num_images),
        "augmented": draw_boxes(datasets, steps, seed, num_images),
    }
    for name, images in groups.items():
        if not any(len(image.labels) for image in images):
            raise DatasetError(
                f"DATASETS.TRAIN {list(cfg.DATASETS.TRAIN)}: no object in {len(images)} images ({name}), so there is "
                "nothing to cover; look at more with --num_images, or see ssd check-data"
            )
    return groups, datasets[0].class_names


def make_report(
    layout: Layout, groups: dict[str, list[ImageBoxes]], class_names: Sequence[str], finer: str
) -> tuple[PriorReport, dict[str, Coverage]]:
    """Measure a layout on groups of boxes."""
    coverages = {name: measure(images, layout) for name, images in groups.items()}
    parts = {name: make_part(coverage, class_names) for name, coverage in coverages.items()}
    verdict = make_verdict(parts, coverages["data"], layout, finer)
    levels = make_levels(layout, coverages)
    return PriorReport(layout.image_size, layout.iou_threshold, levels, parts, verdict), coverages


def write_report(folder: Path, report: PriorReport, layout: Layout, coverages: dict[str, Coverage]) -> None:
    """Write priors.json, priors.txt and the pictures."""
    with os_errors_as(OutputError, folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "priors.json", json.dumps(report.as_dict(), indent=1, allow_nan=False))
        write_text(folder / "priors.txt", report_to_text(report))
        for name, figure in draw_pictures(report, layout, coverages).items():
            write_text(folder / f"{name}.svg", figure_to_svg(figure))
    say(f"\nWritten: {folder / 'priors.json'} and pictures\n")


def fit(
    args: argparse.Namespace,
    cfg: CfgNode,
    layout: Layout,
    groups: dict[str, list[ImageBoxes]],
    class_names: Sequence[str],
    *,
    finer: str,
    before: PriorReport,
) -> None:
    """Fit the priors, write the config, and say what that changes."""
    fitted = fit_priors(layout, make_fit_boxes(list(groups.values()), layout, _MAX_FIT_BOXES), args.max_ratios)
    write_config(args.fit, derived_yaml(Path(args.config), args.fit, cfg, args.opts, fitted))
    own = make_layout(with_priors(cfg, fitted.min_sizes, fitted.max_sizes, fitted.aspect_ratios))
    report, coverages = make_report(own, groups, class_names, finer)
    lines = [
        "",
        f"MIN_SIZES {fitted.min_sizes}",
        f"MAX_SIZES {fitted.max_sizes}",
        f"ASPECT_RATIOS {fitted.aspect_ratios}",
        f"objective {fitted.objective:.3f}, before {fitted.objective_before:.3f}",
        *verdict_lines([*compare(before.parts["data"], report.parts["data"], args.fit), *report.verdict]),
    ]
    say("\n".join(lines) + "\n")
    if args.output:
        write_report(args.output / "fitted", report, own, coverages)
