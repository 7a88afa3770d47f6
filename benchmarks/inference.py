"""How long does detection take: the network alone, one image, large batches, a folder of files?"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks import library, rivals
from benchmarks.inputs import make_images, make_predictions, make_targets
from benchmarks.operations import count_operations, make_floor_timer
from benchmarks.photos import photo_paths
from benchmarks.plan import Plan
from benchmarks.timing import Comparison, Timer, compare
from ssd.modeling.detector import SSDDetector
from ssd.structures.boxes import height_width

_NUM_CLASSES = 21
_CANDIDATES = 2000  # above the threshold, an image; networks of random weights have none, or all
_BATCH_SIZES = {"cpu": (1, 4), "cuda": (1, 64, 256)}
_FOLDER_BATCH_SIZES = {"cpu": 8, "cuda": 64}
# Configs and whether they run in bfloat16: both ways of a CPU to be quick.
_FOLDER_CASES = ((library.VGG_SSD300, True), (library.MOBILENET_V2_SSD320, False))


def run(plan: Plan) -> Iterator[Comparison]:
    """Measure VGG SSD300 (a small network in a smoke run), and folders with MobileNetV2 too."""
    batch_sizes = (1,) if plan.is_quick else _BATCH_SIZES[plan.device.type]
    yield _measure_network(plan, batch_sizes[0])
    for batch_size in batch_sizes:
        yield _measure_detection(plan, batch_size)
    for config, bf16 in _FOLDER_CASES[:1] if plan.is_quick else _FOLDER_CASES:
        yield _measure_folder(plan, config, bf16=bf16)


def _measure_network(plan: Plan, batch_size: int) -> Comparison:
    images = _images(plan, batch_size)
    model = _build(plan)
    contiguous = _build(plan, channels_last=False)

    def predict() -> None:
        library.predict(model, images)

    timers = {
        "ssd, float32": plan.timer(predict),
        "ssd, bf16": plan.timer(lambda: library.predict(model, images, bf16=True)),
        "ssd, float32, contiguous memory (lufficc/SSD's format)": plan.timer(
            lambda: library.predict(contiguous, images)
        ),
        **plan.peer_timer("network", {"images": images}, device=str(plan.device)),
        "operations over the matrix peak (floor)": make_floor_timer(
            count_operations(predict), plan.device, torch.float32
        ),
    }
    title = f"Inference, network alone: {_name(plan)}, batch {batch_size}"
    return compare(title, timers, plan.effort, items=batch_size)


def _measure_detection(plan: Plan, batch_size: int) -> Comparison:
    """From uint8 images on the device to detections on the host; all candidates post-process the same predictions."""
    pixels = (_images(plan, batch_size) * 255).to(torch.uint8)
    model = _build(plan)
    priors = model.box_head.priors
    targets = make_targets(batch_size, _NUM_CLASSES, plan.device)
    predictions = make_predictions(targets, priors, _NUM_CLASSES, min(_CANDIDATES, len(priors)))
    library.give_predictions(model, predictions)
    transform = library.build_transform(library.read_config(library.VGG_SSD300), is_train=False)

    timers = {
        "ssd, float32": plan.timer(lambda: library.detect(model, transform(pixels))),
        "ssd, bf16": plan.timer(lambda: library.detect(model, transform(pixels), bf16=True)),
    }
    if plan.is_gpu:  # where bf16 is what one takes
        timers = dict(reversed(timers.items()))
    if not plan.is_quick:
        timers |= _rival_timers(plan, pixels)
    timers |= plan.peer_timer(
        "detection",
        {"images": pixels, "cls_logits": predictions[0], "bbox_pred": predictions[1]},
        device=str(plan.device),
    )
    title = f"Inference with post-processing: {_name(plan)}, batch {batch_size}"
    comparison = compare(title, timers, plan.effort, items=batch_size)
    comparison.facts["images/s"] = 1000 / comparison.rows[0].value.median
    return comparison


def _measure_folder(plan: Plan, config: str, *, bf16: bool) -> Comparison:
    """From JPEG files to detections, beside the same network on batches that lie in memory, post-processing included.

    What the first takes more is the cost of finding, decoding and resizing the files.
    """
    paths = photo_paths(plan.photos)
    batch_size = min(_FOLDER_BATCH_SIZES[plan.device.type], len(paths))
    cfg = library.read_config(config, *(library.TINY if plan.is_quick else ()))
    detector = library.build_predictor(cfg, plan.device, bf16=bf16)
    size = height_width(cfg.INPUT.IMAGE_SIZE)
    pixels = torch.randint(256, (len(paths), *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batches = pixels.permute(0, 3, 1, 2).split(batch_size)

    def detect_in_folder() -> None:
        found = detector.predict(paths[0].parent, stream=True, batch_size=batch_size)
        assert sum(1 for _ in found) == len(paths)

    def run_network() -> None:
        for batch in batches:
            detector.network(batch)

    timers = {
        "ssd, predict on a folder": plan.timer(detect_in_folder),
        "the bare network on batches in memory (floor)": plan.timer(run_network),
    }
    name = "tiny SSD96" if plan.is_quick else config
    title = f"Files to detections: {name}, {'bf16' if bf16 else 'float32'}, batch {batch_size}"
    return compare(title, timers, plan.effort, items=len(paths))


def _name(plan: Plan) -> str:
    return "tiny SSD96" if plan.is_quick else "VGG SSD300"


def _images(plan: Plan, batch_size: int) -> Tensor:
    return make_images(batch_size, 96 if plan.is_quick else 300, plan.device)


def _build(plan: Plan, *, channels_last: bool = True) -> SSDDetector:
    options = library.TINY if plan.is_quick else ()
    cfg = library.read_config(library.VGG_SSD300, *options)
    return library.build_model(cfg, plan.device, channels_last=channels_last).eval()


def _rival_timers(plan: Plan, pixels: Tensor) -> dict[str, Timer]:
    batch_size = len(pixels)
    targets = make_targets(batch_size, _NUM_CLASSES, plan.device)
    priors = library.build_ssd300_head(plan.device, _NUM_CLASSES).priors
    model = rivals.build_detector(make_predictions(targets, priors, _NUM_CLASSES, _CANDIDATES), plan.device)

    def detect(bf16: bool) -> Callable[[], object]:
        return lambda: rivals.detect(model, pixels, bf16=bf16)

    name = "torchvision ssd300_vgg16"
    return {name: plan.timer(detect(False)), f"{name}, bf16": plan.timer(detect(True))}
