"""How long does it take from a JPEG file to what the network takes, in one worker?"""

import itertools
from collections.abc import Iterator

import cv2
import numpy as np
import torch

from benchmarks import library, rivals
from benchmarks.photos import NUM_BOXES, draw_boxes, photo_paths
from benchmarks.plan import Plan
from benchmarks.timing import Comparison, compare

_BATCH_SIZE = 16


def run(plan: Plan) -> Iterator[Comparison]:
    """Measure the work of a worker, and the same with colours and normalisation, all on the CPU."""
    paths = photo_paths(plan.photos)
    batch_size = min(_BATCH_SIZE, len(paths))
    options = ("DATA_LOADER.NUM_WORKERS", 0, "SOLVER.BATCH_SIZE", batch_size, "MODEL.DEVICE", "cpu")
    cfg = library.with_photos(library.read_config(library.VGG_SSD300, *options), plan.photos)
    samples, positions = library.build_samples(cfg), itertools.count()

    def load() -> None:
        for row in range(len(paths)):
            _ = samples[(row, next(positions))]

    def decode() -> None:
        for path in paths:
            cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)

    augment = rivals.make_augmentation(cfg.INPUT.IMAGE_SIZE)
    boxes = [draw_boxes(number) for number in range(len(paths))]
    labels = np.arange(NUM_BOXES) % 20 + 1

    def load_by_torchvision() -> None:
        for path, corners in zip(paths, boxes, strict=True):
            augment(path, corners, labels)

    peer = plan.peer_timer("loader", {"boxes": np.stack(boxes), "labels": labels}, photos=str(plan.photos))
    timers = {
        "ssd (colours are left to the device)": plan.timer(load),
        "cv2.imdecode of the same files (floor)": plan.timer(decode),
        "torchvision.transforms.v2, colours included": plan.timer(load_by_torchvision),
        **peer,
    }
    yield compare("Loader: file to augmented 300x300 image and boxes", timers, plan.effort, items=len(paths))

    batches, transform = iter(library.build_loader(cfg)), library.build_transform(cfg, is_train=True)

    def load_batch() -> None:
        images, targets, _ = next(batches)
        transform(images, targets, 0)

    def load_batch_by_torchvision() -> None:
        indices = [next(positions) % len(paths) for _ in range(batch_size)]
        torch.stack([augment(paths[index], boxes[index], labels)[0] for index in indices])

    timers = {"ssd": plan.timer(load_batch), "torchvision.transforms.v2": plan.timer(load_batch_by_torchvision)}
    title = f"Loader: files to a normalised float batch of {batch_size}, colours included, all on the CPU"
    yield compare(title, timers, plan.effort, items=batch_size)
