"""Draw training images, each next to the sample that the augmentation makes of it."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from yacs.config import CfgNode

from ssd.data import build_datasets, make_batch_transform, make_train_loader
from ssd.data.datasets import ArrayDataset, DetectionDataset
from ssd.data.samplers import IterationSampler
from ssd.data.samples import collate_training, resize_image
from ssd.engine.training_pictures import to_pixels
from ssd.utils.errors import ConfigError, DatasetError, OutputError, os_errors_as
from ssd.utils.image import write_image
from ssd.visualization.drawing import draw_detections, mosaic

_TILE = 520  # pixels of the longer side of a picture: letters of 11 pixels and more
_COLUMNS = 4  # two pairs
_PAIRS = 8  # on a sheet


class Augmented(NamedTuple):
    """Place of a training image, and its sample: pixels are RGB uint8 (H, W, 3), boxes relative."""

    dataset: DetectionDataset
    row: int
    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def browse(cfg: CfgNode, folder: Path, num: int, classes: Sequence[str] = ()) -> tuple[list[Path], int]:
    """Write sheets of the first ``num`` training images, or those with one of ``classes``; return paths and number."""
    datasets = build_datasets(cfg, is_train=True)
    known = datasets[0].class_names
    unknown = [name for name in classes if name not in known[1:]]
    if unknown:
        raise ConfigError(
            f"--show {','.join(classes)}: no class is called {unknown[0]!r}; there are {', '.join(known[1:])}"
        )
    samples = augmented_samples(cfg, datasets, [known.index(name) for name in classes])
    pairs = [_make_pair(sample) for sample in islice(samples, num)]
    if not pairs:
        raise DatasetError(f"DATASETS.TRAIN {list(cfg.DATASETS.TRAIN)}: no image has an object of {', '.join(classes)}")
    paths: list[Path] = []
    with os_errors_as(OutputError, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(pairs), _PAIRS):
            tiles = [tile for pair in pairs[start : start + _PAIRS] for tile in pair]
            images, captions = zip(*tiles, strict=True)
            paths.append(folder / f"browse_{len(paths) + 1:02d}.jpg")
            write_image(mosaic(images, _COLUMNS, captions), paths[-1])
    return paths, len(pairs)


def augmented_samples(
    cfg: CfgNode, datasets: Sequence[DetectionDataset], labels: Sequence[int] = ()
) -> Iterator[Augmented]:
    """Yield samples of the training's first epoch in its order; with ``labels``, of images with an object of these."""
    loader, transform = make_train_loader(cfg, datasets), make_batch_transform(cfg, is_train=True)
    located = [(dataset, row) for dataset in datasets for row in range(len(dataset))]
    size = cfg.SOLVER.BATCH_SIZE
    batches = IterationSampler(len(located), size, -(-len(located) // size), seed=cfg.SOLVER.SEED)
    for iteration, keys in enumerate(batches):
        is_first_epoch = [position < len(located) for _, position in keys]
        has_label = [_has_label(*located[index], labels) for index, _ in keys]
        shown = np.flatnonzero(np.logical_and(is_first_epoch, has_label)).tolist()
        if shown:
            images, targets, ids = collate_training([loader.dataset[key] for key in keys])
            pixels = to_pixels(transform(images, targets, iteration), cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD)
        for place in shown:
            is_object = (targets["labels"][place] > 0).numpy()
            boxes, found = targets["boxes"][place].numpy()[is_object], targets["labels"][place].numpy()[is_object]
            yield Augmented(*located[int(ids[place])], pixels[place], boxes, found)


def _has_label(dataset: DetectionDataset, row: int, labels: Sequence[int]) -> bool:
    return not labels or bool(np.isin(dataset.get_annotation(row)[1][1], labels).any())


def _make_pair(sample: Augmented) -> list[tuple[np.ndarray, str]]:
    """The image and its sample with their boxes, each with its caption."""
    dataset, row, pixels, sample_boxes, sample_labels = sample
    image, target, _ = dataset[row]
    boxes, labels = np.asarray(target["boxes"]) / np.tile(image.shape[1::-1], 2), np.asarray(target["labels"])
    name = dataset.image_path(row).name if isinstance(dataset, ArrayDataset) else dataset.get_annotation(row)[0]
    return [
        _make_tile(name, image, boxes, labels, dataset.class_names),
        _make_tile("augmented", pixels, sample_boxes, sample_labels, dataset.class_names),
    ]


def _make_tile(
    title: str, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> tuple[np.ndarray, str]:
    """The resized image with its relative boxes, and its caption."""
    scale = _TILE / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    resized = resize_image(image, (height, width))
    drawn = draw_detections(resized, boxes * np.tile([width, height], 2), labels, None, class_names)
    objects = f"{len(labels)} object{'' if len(labels) == 1 else 's'}"
    return drawn, f"{title}: {image.shape[1]} x {image.shape[0]}, {objects}"
