"""Detect in images and videos: ssd demo --ckpt FILE --source WHAT; docs/inference.md has all options."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssd.commands.arguments import CKPT_HELP, add_flag, make_parser, parse_tile
from ssd.commands.run import INTERRUPTED, run_script, start_trained
from ssd.inference.api import make_predictor
from ssd.inference.predictor import Predictor
from ssd.inference.progress import Progress
from ssd.inference.saving import Outputs, Summary, refuse_source_folders
from ssd.inference.sources import Source, open_source
from ssd.inference.web import serve
from ssd.structures.class_names import BACKGROUND, COCO_CLASSES, VOC_CLASSES
from ssd.utils.errors import ImageError
from ssd.utils.interrupt import InterruptGuard
from ssd.utils.terminal import say
from ssd.weights.trained import trained_class_names

CLASSES = {"voc": VOC_CLASSES, "coco": COCO_CLASSES}


def main(args: Sequence[str] | None = None) -> int:
    """Run the command with ``args`` (None = those of the process), and return its exit status."""
    parsed = parse_args(args)
    return run_script(lambda: run(parsed))


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    prog = None if args is None else "ssd demo"
    parser = make_parser("Detect in images and videos; draw what is found, or write it down.", prog)
    add_flag(parser, "--ckpt", metavar="FILE", help=CKPT_HELP)
    add_flag(parser, "--images_dir", default="demo", metavar="DIR", help="folder, without --source (%(default)s)")
    help_text = "image, folder, glob pattern, video, URL or number of a camera, once or several times"
    add_flag(parser, "--source", action="append", metavar="WHAT", help=help_text)
    help_text = "keep what scores above this (%(default)s)"
    add_flag(parser, "--score_threshold", type=float, default=0.7, metavar="S", help=help_text)
    help_text = "images in the network at once (%(default)s)"
    add_flag(parser, "--batch_size", type=int, default=8, metavar="N", help=help_text)
    help_text = "also look at tiles of this side in pixels (default: the network's input), for much larger images"
    add_flag(parser, "--tile", nargs="?", type=parse_tile, const=True, metavar="SIZE", help=help_text)
    help_text = "for drawn images and videos (%(default)s)"
    add_flag(parser, "--output_dir", default="demo/result", metavar="DIR", help=help_text)
    add_flag(parser, "--no_draw", action="store_true", help="draw nothing")
    add_flag(parser, "--save_json", type=Path, metavar="FILE", help="write all detections to this file")
    help_text = "write a text file an image, a line a detection: class x y w h score"
    add_flag(parser, "--save_txt", type=Path, metavar="DIR", help=help_text)
    help_text = "class names, for a checkpoint that carries none; default: by their number"
    add_flag(parser, "--dataset_type", choices=sorted(CLASSES), help=help_text)
    add_flag(parser, "--web", action="store_true", help="show a page for a browser instead, with images dropped there")
    help_text = "of the page; 0.0.0.0: for other machines too (%(default)s)"
    add_flag(parser, "--host", default="127.0.0.1", metavar="ADDRESS", help=help_text)
    add_flag(parser, "--port", type=int, default=7860, metavar="N", help="of the page (%(default)s)")
    return parser.parse_intermixed_args(args)


def run(args: argparse.Namespace) -> int:
    """Detect as the command line says; return 1 if an image failed, 130 after Ctrl-C, else 0."""
    if args.web:
        serve(load_predictor(args), score_threshold=args.score_threshold, host=args.host, port=args.port)
        return 0
    sources = args.source or [args.images_dir]
    drawn = None if args.no_draw else Path(args.output_dir)
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
        say("Stopped by Ctrl-C; what was written until then is complete\n")
        return INTERRUPTED
    return 1 if outputs.failures else 0


def load_predictor(args: argparse.Namespace) -> Predictor:
    """Build the detector that the command line names, by a config, a checkpoint or both."""
    cfg, device, checkpoint = start_trained(args)
    if args.dataset_type and "class_names" not in checkpoint:
        class_names = [BACKGROUND, *CLASSES[args.dataset_type]]
    else:
        class_names = [*trained_class_names(cfg, checkpoint)]
    return make_predictor(cfg, checkpoint, class_names, device)


def detect(predictor: Predictor, source: Source, outputs: Outputs, args: argparse.Namespace) -> None:
    """Detect in all of a source and write and print what is found; Ctrl-C ends it after the image at hand."""
    summary = Summary(predictor.class_names)
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
