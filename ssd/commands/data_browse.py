"""The command that shows training images beside what the augmentation makes of them."""

import argparse
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from yacs.config import CfgNode

from ssd.commands.arguments import add_config_arguments, add_flag
from ssd.commands.run import run_script
from ssd.config import load_config
from ssd.data import build_datasets, make_batch_transform, make_train_loader
from ssd.data.datasets import ArrayDataset, DetectionDataset
from ssd.data.samplers import IterationSampler
from ssd.data.samples import TrainingSample, resize_image
from ssd.data.transforms import BatchTransform
from ssd.structures import Container
from ssd.utils.errors import ConfigError, DatasetError, OutputError, os_errors_as
from ssd.utils.image import write_image
from ssd.utils.terminal import say
from ssd.visualization.drawing import draw_detections
from ssd.visualization.mosaic import mosaic

_TILE = 520  # pixels of the longer side of a picture: letters of 11 pixels and more
_COLUMNS = 4  # two pairs
_PAIRS = 8  # on a sheet


class _Pair(NamedTuple):
    """An image before and after the augmentation, with boxes drawn, and a line of text under each."""

    images: tuple[np.ndarray, np.ndarray]
    captions: tuple[str, str]


def main(args: Sequence[str]) -> int:
    """Run `ssd data browse`."""
    parsed = parse_args(args)
    return run_script(lambda: run(parsed))


def parse_args(args: Sequence[str]) -> argparse.Namespace:
    """Read the command line behind `ssd data browse`."""
    parser = argparse.ArgumentParser(
        prog="ssd data browse",
        description="Draw images of DATASETS.TRAIN, each beside the sample that the augmentation makes of it.",
    )
    add_config_arguments(parser)
    help_text = "for browse_01.jpg, ... (default: browse in OUTPUT_DIR)"
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help=help_text)
    add_flag(parser, "--num", type=int, default=16, metavar="N", help="images to show (default: 16)")
    help_text = "only images with an object of one of these classes"
    add_flag(parser, "--show", metavar="CLASS,...", help=help_text)
    return parser.parse_intermixed_args(args)


def run(args: argparse.Namespace) -> int:
    """Draw, write the sheets and return 0.

    Raises:
        ConfigError: the configuration is wrong, or an option is.
        DatasetError: the data is missing or malformed, or no image has a class that is asked for.
        OutputError: a file cannot be written.
    """
    if args.num < 1:
        raise ConfigError(f"--num must be at least 1, got {args.num}")
    cfg = load_config(args.config, args.opts)
    datasets = build_datasets(cfg, is_train=True)
    labels = _find_labels(args.show, datasets[0].class_names)
    pairs = list(_draw_pairs(cfg, datasets, labels, args.num))
    if not pairs:
        raise DatasetError(f"DATASETS.TRAIN {list(cfg.DATASETS.TRAIN)}: no image has an object of {args.show}")
    folder = args.output or Path(cfg.OUTPUT_DIR, "browse")
    with os_errors_as(OutputError, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for number, start in enumerate(range(0, len(pairs), _PAIRS), start=1):
            sheet = pairs[start : start + _PAIRS]
            images = [image for pair in sheet for image in pair.images]
            captions = [caption for pair in sheet for caption in pair.captions]
            write_image(mosaic(images, _COLUMNS, captions), folder / f"browse_{number:02d}.jpg")
    first, last = folder / "browse_01.jpg", f"browse_{number:02d}.jpg"
    names = f"{first}" if number == 1 else f"{first} to {last}"
    say(f"Written: {names}: {len(pairs)} images, each beside its first sample of the training\n")
    return 0


def _find_labels(show: str | None, class_names: Sequence[str]) -> np.ndarray | None:
    """Labels of the classes that are asked for; None = no class is."""
    if show is None:
        return None
    names = [name.strip() for name in show.split(",")]
    unknown = [name for name in names if name not in class_names[1:]]
    if unknown:
        raise ConfigError(f"--show {show}: no class is called {unknown[0]!r}; there are {', '.join(class_names[1:])}")
    return np.array([class_names.index(name) for name in names])


def _draw_pairs(
    cfg: CfgNode, datasets: Sequence[DetectionDataset], labels: np.ndarray | None, num: int
) -> Iterator[_Pair]:
    """Pairs in the order of the training's first epoch, at most ``num``."""
    loader, transform = make_train_loader(cfg, datasets), make_batch_transform(cfg, is_train=True)
    mean, std = np.array(cfg.INPUT.PIXEL_MEAN), np.array(cfg.INPUT.PIXEL_STD)
    located = [(dataset, row) for dataset in datasets for row in range(len(dataset))]
    (keys,) = IterationSampler(len(located), len(located), 1, seed=cfg.SOLVER.SEED)
    chosen = islice((key for key in keys if _has_label(*located[key[0]], labels)), num)
    batch_size = cfg.SOLVER.BATCH_SIZE
    for iteration, group in groupby(chosen, lambda key: key[1] // batch_size):
        keys = list(group)
        samples = loader.dataset.__getitems__(keys)  # type: ignore[attr-defined]
        places = [position % batch_size for _, position in keys]
        for sample, pixels in zip(samples, _finish(transform, samples, places, batch_size, iteration), strict=True):
            dataset, row = located[int(sample.sample_id)]
            yield _make_pair(dataset, row, sample, pixels * std + mean)


def _has_label(dataset: DetectionDataset, row: int, labels: np.ndarray | None) -> bool:
    return labels is None or bool(np.isin(dataset.get_annotation(row)[1][1], labels).any())


def _finish(
    transform: BatchTransform, samples: Sequence[TrainingSample], places: Sequence[int], batch_size: int, iteration: int
) -> np.ndarray:
    """Give samples the colours of their places in the batch of an iteration; float (samples, H, W, 3), normalised."""
    height, width, _ = samples[0].image.shape
    images = torch.zeros(batch_size, 3, height, width, dtype=torch.uint8)
    area = torch.zeros(batch_size, 4)
    for place, sample in zip(places, samples, strict=True):
        images[place] = torch.from_numpy(sample.image).permute(2, 0, 1)
        area[place] = torch.from_numpy(sample.valid_area)
    return transform(images, Container(valid_area=area), iteration)[list(places)].permute(0, 2, 3, 1).numpy()


def _make_pair(dataset: DetectionDataset, row: int, sample: TrainingSample, pixels: np.ndarray) -> _Pair:
    image, target, _ = dataset[row]
    names = dataset.class_names
    height, width, _ = image.shape
    boxes = np.asarray(target["boxes"]) / np.tile([width, height], 2)
    before = _draw(image, boxes, np.asarray(target["labels"]), names)
    after = _draw(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), sample.boxes, sample.labels, names)
    image_name = dataset.image_path(row).name if isinstance(dataset, ArrayDataset) else dataset.get_annotation(row)[0]
    captions = (
        f"{image_name}: {width} x {height}, {_count(len(boxes))}",
        f"augmented: {sample.image.shape[1]} x {sample.image.shape[0]}, {_count(len(sample.labels))}",
    )
    return _Pair((before, after), captions)


def _draw(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """An image with its longer side as long as a tile's, and boxes relative to it."""
    scale = _TILE / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    resized = resize_image(image, (height, width))
    return draw_detections(resized, boxes * np.tile([width, height], 2), labels, None, class_names)


def _count(number: int) -> str:
    return f"{number} object{'' if number == 1 else 's'}"
