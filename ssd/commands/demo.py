"""Detect in images and videos: ssd demo --ckpt FILE --source SOURCE; docs/inference.md has all options."""

import argparse
from collections.abc import Sequence

from ssd.commands.arguments import CKPT_HELP, add_flag, make_parser, parse_tile, user_path
from ssd.commands.run import INTERRUPTED, run_script, start_trained
from ssd.inference.api import make_predictor
from ssd.inference.outputs import Outputs, refuse_source_folders
from ssd.inference.predictor import Predictor
from ssd.inference.progress import Progress, Summary
from ssd.inference.sources import Source, open_source
from ssd.inference.web import serve
from ssd.structures.class_names import COCO_CLASSES, VOC_CLASSES
from ssd.utils.errors import ImageError
from ssd.utils.interrupt import InterruptGuard
from ssd.utils.logger import say
from ssd.weights.loaded_checkpoint import trained_class_names

CLASSES = {"voc": VOC_CLASSES, "coco": COCO_CLASSES}


def main(args: Sequence[str] | None = None) -> int:
    """Run the command with ``args`` (None = those of the process) and return its exit status."""
    return run_script(lambda: run(parse_args(args)))


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    description = "Detect in images and videos; draw the detections or write them to files."
    parser = make_parser(description, None if args is None else "ssd demo")
    add_flag(parser, "--ckpt", metavar="FILE", help=CKPT_HELP)
    add_flag(parser, "--images_dir", default="demo", metavar="DIR", help="folder, without --source (%(default)s)")
    help_text = "image, folder, glob pattern, video, URL or number of a camera; may be repeated"
    add_flag(parser, "--source", action="append", help=help_text)
    help_text = "keep objects that score above it (%(default)s)"
    add_flag(parser, "--score_threshold", type=float, default=0.7, metavar="S", help=help_text)
    add_flag(parser, "--batch_size", type=int, default=8, metavar="N", help="images per batch (%(default)s)")
    help_text = "also detect in tiles of this side in pixels (default: the network's input), for much larger images"
    add_flag(parser, "--tile", nargs="?", type=parse_tile, const=True, metavar="SIZE", help=help_text)
    help_text = "folder of annotated images and videos (%(default)s)"
    add_flag(parser, "--output_dir", default="demo/result", type=user_path, metavar="DIR", help=help_text)
    add_flag(parser, "--no_draw", action="store_true", help="write no annotated images and videos")
    add_flag(parser, "--save_json", type=user_path, metavar="FILE", help="write all detections to this file")
    help_text = "write a text file per image, with a line per object: class x y w h score"
    add_flag(parser, "--save_txt", type=user_path, metavar="DIR", help=help_text)
    help_text = "classes of a checkpoint without class names; default: chosen by their number"
    add_flag(parser, "--dataset_type", choices=sorted(CLASSES), help=help_text)
    add_flag(parser, "--web", action="store_true", help="show a page in the browser that detects in dropped images")
    help_text = "address of the page; 0.0.0.0 = also for other machines (%(default)s)"
    add_flag(parser, "--host", default="127.0.0.1", metavar="ADDRESS", help=help_text)
    add_flag(parser, "--port", type=int, default=7860, metavar="N", help="port of the page (%(default)s)")
    return parser.parse_intermixed_args(args)


def run(args: argparse.Namespace) -> int:
    """Detect; return 1 if an image failed, 130 after Ctrl-C, otherwise 0."""
    if args.web:
        serve(load_predictor(args), score_threshold=args.score_threshold, host=args.host, port=args.port)
        return 0
    sources = args.source or [args.images_dir]
    drawn = None if args.no_draw else args.output_dir
    refuse_source_folders({"--output_dir": drawn, "--save_txt": args.save_txt}, sources)
    predictor = load_predictor(args)
    source = open_source(sources[0] if len(sources) == 1 else sources)
    outputs = Outputs(predictor.class_names, drawn=drawn, json=args.save_json, txt=args.save_txt)
    detect(predictor, source, outputs, args)

    for path in filter(None, (drawn, args.save_json, args.save_txt)):
        say(f"Written: {path}\n")
    if outputs.failures:
        say("\n  ".join([f"{len(outputs.failures)} image(s) failed:", *outputs.failures]) + "\n")
    if not outputs.is_complete:
        say("Stopped by Ctrl-C; the files are complete up to there\n")
        return INTERRUPTED
    return 1 if outputs.failures else 0


def load_predictor(args: argparse.Namespace) -> Predictor:
    """Build the detector from a config, a checkpoint or both."""
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

        options = {"batch_size": args.batch_size, "score_threshold": args.score_threshold, "tile": args.tile}
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
