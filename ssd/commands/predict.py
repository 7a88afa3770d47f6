"""Detect in images and videos: ssd predict MODEL SOURCE; docs/inference.md has all options."""

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from ssd.commands.arguments import MODEL, Parser, parse_tile
from ssd.commands.bulk import predict_parts
from ssd.commands.run import INTERRUPTED, run_script, start_trained
from ssd.deploy.runtimes import open_exported
from ssd.inference.api import make_predictor
from ssd.inference.outputs import Outputs, refuse_source_folders
from ssd.inference.predictor import Predictor
from ssd.inference.progress import Progress, Summary
from ssd.inference.sources import Source, open_source
from ssd.inference.web import serve
from ssd.structures.class_names import COCO_CLASSES, VOC_CLASSES
from ssd.tools.bulk.rows import FORMATS
from ssd.utils.errors import ImageError
from ssd.utils.image import IMAGE_SUFFIXES
from ssd.utils.interrupt import InterruptGuard
from ssd.utils.logger import say
from ssd.weights.loaded_checkpoint import trained_class_names

_NUM_SAMPLES = 6  # of a web page
CLASSES = {"voc": VOC_CLASSES, "coco": COCO_CLASSES}
_BULK = ("parts", "part_size", "format", "list", "ray", "address", "actors", "opts_follow")  # of --parts


def main(args: Sequence[str]) -> int:
    """Run `ssd predict`; return 1 for an error or failed images, 130 after Ctrl-C, 143 after SIGTERM, else 0."""
    return run_script(lambda: run(parse_args(args)))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of `ssd predict`.

    With a detector that flags name and without a flag for single files, ``-o`` has parts, as in version 1.
    """
    parser = make_parser("ssd predict", "ssd predict runs/photos new_photos -o found")
    parser.add_flag("--parts", "", "write results in parts, for many images; see docs/bulk.md")
    parser.add_flag("--list", "FILE", "with --parts: text file with a path or URL per line")
    parser.add_flag("--format", "NAME", "of the parts (default: jsonl, and parquet with --ray)", choices=list(FORMATS))
    parser.add_flag("--part-size", "N", "images per part (default: 32 to 1000)")
    parser.add_flag("--ray", "", "with --parts: share them among the machines of a Ray cluster")
    parser.add_flag("--address", "ADDRESS", "of the cluster (default: the one of this machine, else a new one)")
    parser.add_flag("--actors", "N", "number of detectors (default: one per GPU of the cluster, or else per core)")
    parser.add_flag("--opts", "", "", dest="opts_follow")
    parsed = parser.parse_model(args, has_more=True)
    parsed.sources = [*(parsed.source or []), *parsed.words]
    is_drawn = parsed.web or parsed.json or parsed.txt or parsed.no_draw or parsed.has_model_word
    parsed.parts = any(getattr(parsed, name) for name in _BULK) or bool(parsed.output and not is_drawn)
    if not (parsed.sources or parsed.list or parsed.web):
        parser.missing("SOURCE")
    return parsed


def make_parser(prog: str, example: str) -> Parser:
    """Build the parser of commands that draw detections."""
    words = ("SOURCE ...", "images: file, folder, pattern or URL; or a video, or the number of a camera")
    parser = Parser(prog, "Detect in images and videos; draw the detections, or write them.", example, MODEL, words)
    parser.add_flag("--source", "SOURCE", "", "--images-dir", action="append")
    parser.add_output("folder of annotated images and videos (default: predicted)")
    help_text = "keep objects that score above it (default: each class by the checkpoint, else 0.5)"
    parser.add_flag("--threshold", "X", help_text, "--score-threshold", "--conf", "--conf-thres", "--confidence")
    parser.add_device()
    parser.add_flag("--json", "FILE", "write all detections to this file", "--save-json")
    parser.add_flag("--txt", "FOLDER", "write a text file per image, with lines: class x y w h score", "--save-txt")
    parser.add_flag("--no-draw", "", "write no annotated images and videos")
    help_text = "also detect in tiles of this side in pixels (default: the network's input), for much larger images"
    parser.add_flag("--tile", "SIZE", help_text, nargs="?", type=parse_tile, const=True)
    parser.add_flag("--batch-size", "N", "images per batch", default=8)
    help_text = "classes of a checkpoint without class names (default: chosen by their number)"
    parser.add_flag("--dataset-type", "NAME", help_text, choices=sorted(CLASSES))
    parser.add_flag(
        "--web", "", "show a page in the browser that detects in dropped images; those of SOURCE are its samples"
    )
    parser.add_flag("--host", "ADDRESS", "of the page; 0.0.0.0 = also for other machines", default="127.0.0.1")
    parser.add_flag("--port", "N", "port of the page", default=7860)
    return parser


def run(args: argparse.Namespace) -> int:
    """Detect; return 1 if an image failed, 130 after Ctrl-C, otherwise 0."""
    if args.parts:
        return predict_parts(args)
    if args.web:
        pending = open_source(args.sources) if args.sources else ()
        samples = [image.name for image in islice(pending, _NUM_SAMPLES) if image.name.lower().endswith(IMAGE_SUFFIXES)]
        predictor = load_predictor(args)
        serve(predictor, samples, score_threshold=args.threshold, host=args.host, port=args.port)
        return 0
    sources, drawn = args.sources, None if args.no_draw else args.output or Path("predicted")
    refuse_source_folders({"--output": drawn, "--txt": args.txt}, sources)
    predictor = load_predictor(args)
    source = open_source(sources[0] if len(sources) == 1 else sources)
    outputs = Outputs(predictor.class_names, drawn=drawn, json=args.json, txt=args.txt)
    detect(predictor, source, outputs, args)

    for path in filter(None, (drawn, args.json, args.txt)):
        say(f"Written: {path}\n")
    if outputs.failures:
        say("\n  ".join([f"{len(outputs.failures)} image(s) failed:", *outputs.failures]) + "\n")
    if not outputs.is_complete:
        say("Stopped by Ctrl-C; the files are complete up to there\n")
        return INTERRUPTED
    return 1 if outputs.failures else 0


def load_predictor(args: argparse.Namespace) -> Predictor:
    """Build the detector from a config, a checkpoint or both, or from an exported file."""
    if args.ckpt is not None and args.ckpt.endswith((".onnx", ".pt2")):
        return open_exported(args.ckpt)
    cfg, device, checkpoint = start_trained(args)
    given = CLASSES[args.dataset_type] if args.dataset_type and checkpoint.class_names is None else ()
    return make_predictor(cfg, checkpoint, trained_class_names(cfg, checkpoint, given), device)


def detect(predictor: Predictor, source: Source, outputs: Outputs, args: argparse.Namespace) -> None:
    """Detect in a source, write and print the detections; Ctrl-C ends it after the current image."""
    summary = Summary()
    with InterruptGuard() as interrupt, outputs, Progress(source.num_frames) as progress:

        def fail(error: ImageError) -> None:
            outputs.failures.append(str(error))
            progress.fail(error)

        options = {"batch_size": args.batch_size, "score_threshold": args.threshold, "tile": args.tile}
        for detections in predictor.predict(source, stream=True, on_error=fail, **options):
            summary.add(detections)
            try:
                outputs.add(detections)
            except ImageError as error:
                fail(error)
            else:
                progress.add(detections)
            if interrupt.requested:
                outputs.is_complete = False
                break
    say(f"{summary.table()}\n\n{progress.speed()}\n")
