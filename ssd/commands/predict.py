"""Detect in images and videos: ssd predict MODEL SOURCE; docs/inference.md has all options."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssd.commands.arguments import MODEL, SPELLINGS_OF_THRESHOLD, Parser, parse_tile, take_model, user_path
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
from ssd.utils.interrupt import InterruptGuard
from ssd.utils.logger import say
from ssd.weights.loaded_checkpoint import trained_class_names

CLASSES = {"voc": VOC_CLASSES, "coco": COCO_CLASSES}
_BULK = ("parts", "part_size", "format", "list", "ray", "address", "actors", "opts_follow")  # of --parts


def main(args: Sequence[str]) -> int:
    """Run `ssd predict`; return 1 for an error or failed images, 130 after Ctrl-C, 143 after SIGTERM, else 0."""

    def start() -> int:
        parsed = parse_args(args)
        return predict_parts(parsed) if parsed.parts else run(parsed)

    return run_script(start)


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of `ssd predict`.

    With a detector that flags name and without a flag for single files, ``-o`` has parts, as in version 1.
    """
    parser = make_parser("ssd predict", "ssd predict runs/photos new_photos -o found")
    parser.add_flag("--parts", action="store_true", help="write results in parts, for many images; see docs/bulk.md")
    parser.add_flag("--list", type=user_path, metavar="FILE", help="text file with a path or URL per line")
    parser.add_flag("--format", choices=list(FORMATS), help="of the parts (default: jsonl, and parquet with --ray)")
    parser.add_flag("--part-size", type=int, metavar="N", help="images per part (default: 32 to 1000)")
    parser.add_flag("--ray", action="store_true", help="with --parts: share them among the machines of a Ray cluster")
    help_text = "address of the cluster (default: the one of this machine, else a new one)"
    parser.add_flag("--address", metavar="ADDRESS", help=help_text)
    help_text = "number of detectors (default: one per GPU of the cluster, or else per core)"
    parser.add_flag("--actors", type=int, metavar="N", help=help_text)
    parser.add_flag("--opts", dest="opts_follow", action="store_true", help=argparse.SUPPRESS)
    parsed = parser.parse(args)
    has_flags = parsed.ckpt is not None or parsed.config_file is not None
    is_drawn = parsed.web or parsed.json or parsed.txt or parsed.no_draw or parsed.source or parsed.images_dir
    parsed.parts = any(getattr(parsed, name) for name in _BULK) or (has_flags and parsed.output and not is_drawn)
    take_sources(parser, parsed)
    if not (parsed.sources or parsed.list or parsed.web):
        parser.missing("SOURCE")
    return parsed


def make_parser(prog: str | None, example: str) -> Parser:
    """Build the parser of commands that draw detections."""
    words = ("SOURCE ...", "images: file, folder, pattern or URL; or a video, or the number of a camera")
    parser = Parser(prog, "Detect in images and videos; draw the detections, or write them.", example, MODEL, words)
    parser.add_model()
    parser.add_flag("--source", action="append", help=argparse.SUPPRESS)
    parser.add_flag("--images-dir", metavar="DIR", help=argparse.SUPPRESS)
    parser.add_output("folder of annotated images and videos (default: predicted)")
    help_text = "keep objects that score above it (default: each class by the checkpoint, else 0.5)"
    parser.add_flag("--threshold", *SPELLINGS_OF_THRESHOLD, type=float, metavar="S", help=help_text)
    parser.add_device()
    parser.add_flag("--json", "--save-json", type=user_path, metavar="FILE", help="write all detections to this file")
    help_text = "write a text file per image, with a line per object: class x y w h score"
    parser.add_flag("--txt", "--save-txt", type=user_path, metavar="FOLDER", help=help_text)
    parser.add_flag("--no-draw", action="store_true", help="write no annotated images and videos")
    help_text = "also detect in tiles of this side in pixels (default: the network's input), for much larger images"
    parser.add_flag("--tile", nargs="?", type=parse_tile, const=True, metavar="SIZE", help=help_text)
    parser.add_flag("--batch-size", type=int, default=8, metavar="N", help="images per batch (%(default)s)")
    help_text = "classes of a checkpoint without class names (default: chosen by their number)"
    parser.add_flag("--dataset-type", choices=sorted(CLASSES), help=help_text)
    parser.add_flag("--web", action="store_true", help="show a page in the browser that detects in dropped images")
    help_text = "address of the page; 0.0.0.0 = also for other machines (%(default)s)"
    parser.add_flag("--host", default="127.0.0.1", metavar="ADDRESS", help=help_text)
    parser.add_flag("--port", type=int, default=7860, metavar="N", help="port of the page (%(default)s)")
    return parser


def take_sources(parser: Parser, parsed: argparse.Namespace) -> None:
    """Take the detector and the ``sources`` from the words."""
    take_model(parser, parsed, has_more=True)
    folder = [parsed.images_dir] if parsed.images_dir and not parsed.source else []
    parsed.sources = [*(parsed.source or folder), *parsed.words]


def run(args: argparse.Namespace) -> int:
    """Detect; return 1 if an image failed, 130 after Ctrl-C, otherwise 0."""
    if args.web:
        serve(load_predictor(args), score_threshold=args.threshold, host=args.host, port=args.port)
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
