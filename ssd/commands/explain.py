"""The command `ssd explain`: one image as a detector sees it, in pictures and numbers."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssd.commands.arguments import MODEL, Parser
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
    description = "Show one image as a detector sees it: anchors, matches, hard negatives, candidates and detections."
    image = ("[IMAGE]", "path or URL of an image whose objects are unknown; or leave it out, and name --dataset")
    parser = Parser("ssd explain", description, "ssd explain runs/photos new.jpg", MODEL, image)
    parser.add_flag("--dataset", "NAME", "take image and objects from a dataset of the config or of the catalogue")
    parser.add_flag("--index", "N", "number of its image, from 0", default=0)
    parser.add_flag("--detection", "N", "number of the detection in the last picture, from 0, the best", default=0)
    parser.add_output("for explain.html and the pictures", default=Path("explained"))
    parser.add_device()
    parsed = parser.parse_model(args, has_more=True)
    if parsed.dataset is not None and parsed.words:
        parser.error(f"--dataset {parsed.dataset} gives the image: leave {parsed.words[0]!r} out, or --dataset")
    parsed.image = parsed.words.pop(0) if parsed.words else None
    if parsed.dataset is None and parsed.image is None:
        parser.missing("IMAGE")
    parser.refuse_words(parsed)
    return parsed


def run(args: argparse.Namespace) -> int:
    """Explain, print the most important numbers, and write the files; return the exit status."""
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
    return replace(explanation, name=f"{dataset.get_annotation(args.index)[0]}, {args.dataset}[{args.index}]")
