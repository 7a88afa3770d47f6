"""The command `ssd explain`: one image as a detector sees it, in pictures and numbers."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssd.commands.arguments import CKPT_HELP, add_flag, make_parser, user_path
from ssd.commands.run import run_script, start_trained
from ssd.config import Config
from ssd.data.catalog import make_dataset
from ssd.inference.api import make_predictor
from ssd.inference.predictor import Predictor
from ssd.tools.explain.explain import Explanation, explain
from ssd.utils.errors import ConfigError
from ssd.utils.logger import say
from ssd.weights.loaded_checkpoint import trained_class_names


def main(args: Sequence[str]) -> int:
    """Run `ssd explain`."""
    return run_script(lambda: run(parse_args(args)))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Read the command line behind `ssd explain`."""
    parser = make_parser(
        "Show one image as a detector sees it: priors, matches, hard negatives, candidates and detections.",
        "ssd explain",
    )
    parser.usage = (
        "%(prog)s (IMAGE | --dataset NAME --index I) [--config-file FILE] [--ckpt FILE] [options] [KEY VALUE ...]"
    )
    help_text = "path or URL of an image whose objects are not known; or leave it out and name --dataset"
    parser.add_argument("image", nargs="?", metavar="IMAGE", help=help_text)
    add_flag(parser, "--ckpt", metavar="FILE", help=CKPT_HELP)
    help_text = "take image and objects from a dataset of the config or of the catalogue"
    add_flag(parser, "--dataset", metavar="NAME", help=help_text)
    add_flag(parser, "--index", type=int, default=0, metavar="I", help="number of its image, from 0 (%(default)s)")
    help_text = "number of the detection in the last picture, from 0, the best (%(default)s)"
    add_flag(parser, "--detection", type=int, default=0, metavar="N", help=help_text)
    help_text = "for explain.html and the pictures (%(default)s)"
    parser.add_argument("-o", "--output", type=user_path, default=Path("explained"), metavar="FOLDER", help=help_text)
    parsed = parser.parse_intermixed_args(args)
    words = [*parsed.opts, *([parsed.image] if parsed.image is not None else [])]  # in any order IMAGE is the first
    parsed.image = words.pop(0) if parsed.dataset is None and words else None
    parsed.opts = words
    return parsed


def run(args: argparse.Namespace) -> int:
    """Explain, print the most important numbers, and write the files; return the exit status."""
    if args.dataset is None and args.image is None:
        raise ConfigError("nothing to explain: name an IMAGE, or --dataset NAME with --index I")
    if args.dataset is not None and len(args.opts) % 2:
        raise ConfigError(f"--dataset {args.dataset} gives the image: leave {args.opts[0]!r} out, or --dataset")
    cfg, device, checkpoint = start_trained(args)
    detector = make_predictor(cfg, checkpoint, trained_class_names(cfg, checkpoint), device)
    explanation = explain_dataset(args, cfg, detector) if args.dataset else explain(detector, args.image)
    paths = explanation.write(args.output, args.detection)
    say(explanation.to_text(args.detection))
    say(f"\nWritten: {', '.join(str(path) for path in paths)}\n")
    return 0


def explain_dataset(args: argparse.Namespace, cfg: Config, detector: Predictor) -> Explanation:
    """Explain an image of a dataset, with the objects that training would see."""
    options: dict[str, Any] = {"is_train": True, "on_error": cfg.DATASETS.ON_ERROR}
    dataset = make_dataset(args.dataset, cfg.DATASETS.CUSTOM, class_names=detector.class_names, **options)
    if not 0 <= args.index < len(dataset):
        raise ConfigError(f"--index {args.index}: {args.dataset} has {len(dataset)} images, counted from 0")
    image, target, _ = dataset[args.index]
    explanation = explain(detector, image, target["boxes"], target["labels"])
    return replace(explanation, name=f"{args.dataset}[{args.index}]")
