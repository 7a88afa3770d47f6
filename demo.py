"""Draw detections on a folder of images: python demo.py --config-file FILE [--ckpt FILE] --images_dir DIR."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ssd.data import make_batch_transform
from ssd.data.datasets import COCO_CLASSES, VOC_CLASSES
from ssd.engine.predictor import Predictor
from ssd.engine.setup import add_flag, make_parser, run_script, start_run
from ssd.engine.trained import build_trained_model, read_trained
from ssd.structures.size import height_width
from ssd.utils.errors import ImageError
from ssd.utils.image import list_images, read_image, write_image
from ssd.visualization import draw_detections

CLASSES = {"voc": VOC_CLASSES, "coco": COCO_CLASSES}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser("Detect in the images of a folder and write them with boxes.")
    add_flag(parser, "--ckpt", default=None, metavar="FILE", help="path or URL; default: the last one of OUTPUT_DIR")
    add_flag(parser, "--score_threshold", type=float, default=0.7, metavar="S", help="draw what scores above this")
    add_flag(parser, "--images_dir", default="demo", metavar="DIR", help="folder of images")
    add_flag(parser, "--output_dir", default="demo/result", metavar="DIR", help="for the drawn images")
    help_text = "class names, for a checkpoint that carries none"
    add_flag(parser, "--dataset_type", choices=sorted(CLASSES), default="voc", help=help_text)
    return parser.parse_intermixed_args()


def main() -> int:
    """Detect as the command line says; return 1 if an image failed, else 0."""
    args = parse_args()
    cfg, device = start_run(args, log_dir=False)
    checkpoint = read_trained(cfg, args.ckpt)
    class_names = checkpoint.get("class_names") or ["__background__", *CLASSES[args.dataset_type]]
    model = build_trained_model(cfg, checkpoint, class_names, device)
    batch_transform = make_batch_transform(cfg, is_train=False)
    predictor = Predictor(model, batch_transform, height_width(cfg.INPUT.IMAGE_SIZE), class_names)

    paths = list_images(args.images_dir)
    output_dir = Path(args.output_dir)
    if output_dir.resolve() == Path(args.images_dir).resolve():
        raise ImageError(f"--output_dir {output_dir} is the folder of the images themselves; name another one")
    output_dir.mkdir(parents=True, exist_ok=True)
    failures = []
    for number, path in enumerate(paths, start=1):
        try:
            timing = detect_and_draw(predictor, path, output_dir / path.name, args.score_threshold)
        except ImageError as error:
            failures.append(error)
            timing = "failed"
        print(f"({number:04d}/{len(paths):04d}) {path.name}: {timing}")
    print(f"Drawn images: {output_dir}")
    report(failures)
    return 1 if failures else 0


def detect_and_draw(predictor: Predictor, path: Path, output_path: Path, score_threshold: float) -> str:
    """Detect in one image, write it with boxes, and return what to print."""
    start = time.perf_counter()
    image = read_image(path)
    load_time = time.perf_counter() - start

    start = time.perf_counter()
    detections = predictor(image)  # ends with a copy to the CPU, so a GPU has finished too
    inference_time = time.perf_counter() - start

    shown = detections["scores"] > score_threshold
    boxes, labels, scores = (detections[name][shown] for name in ("boxes", "labels", "scores"))
    drawn = draw_detections(image, boxes, labels, scores, predictor.class_names)
    write_image(drawn, output_path)
    return (
        f"objects {len(boxes):02d} | load {load_time * 1000:03.0f}ms | inference {inference_time * 1000:03.0f}ms "
        f"| FPS {1 / inference_time:.0f}"
    )


def report(failures: Sequence[ImageError]) -> None:
    """Print why images failed."""
    if failures:
        print(f"{len(failures)} image(s) failed:")
    for error in failures:
        print(f"  {error}")


if __name__ == "__main__":
    sys.exit(run_script(main))
