"""Datasets and loaders from a configuration."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from ssd.data.catalog import dataset_names, make_dataset
from ssd.data.datasets import ArrayDataset, DetectionDataset
from ssd.data.datasets.policy import describe_similar
from ssd.data.samplers import IterationSampler, repeat_factors, share_of_batches
from ssd.data.samples import ResizedSamples, TrainingSamples, collate_test, collate_training, open_sample
from ssd.data.transforms.geometry import GeometricSteps
from ssd.structures.boxes import height_width
from ssd.structures.class_names import BACKGROUND
from ssd.utils.device import available_cores
from ssd.utils.distributed import read_launch
from ssd.utils.errors import ConfigError

logger = logging.getLogger(__name__)


def build_datasets(cfg: CfgNode, is_train: bool, class_names: Sequence[str] | None = None) -> list[DetectionDataset]:
    """Build the datasets of DATASETS.TRAIN or TEST, all with the same ``class_names``.

    Args:
        is_train: Build those of TRAIN. VOC sets then leave difficult objects out.
        class_names: Background first; fixes the labels, for example to those of a checkpoint. None = the names of the
            sets, which must be the same; VOC and CSV sets without CLASSES get the union of their names.
    """
    key = "TRAIN" if is_train else "TEST"
    names = list(cfg.DATASETS.TRAIN if is_train else cfg.DATASETS.TEST)
    if not names:
        raise ConfigError(
            f"DATASETS.{key} is empty; name at least one dataset, for example \"['{dataset_names()[-1]}']\". "
            f"The catalogue begins with {', '.join(dataset_names()[:3])}; your own datasets go under DATASETS.CUSTOM"
            + ("" if is_train else ". To train without evaluation, pass --skip-test")
        )
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"DATASETS.{key} names {', '.join(repeated)} more than once")
    datasets = [
        make_dataset(
            name, cfg.DATASETS.CUSTOM, is_train=is_train, class_names=class_names, on_error=cfg.DATASETS.ON_ERROR
        )
        for name in names
    ]
    if class_names is None:
        unite_class_names(names, datasets)
        if similar := describe_similar(datasets[0].class_names):
            logger.warning("%s", similar)
    for name, dataset in zip(names, datasets, strict=True):
        logger.info("%s: %d images, %d classes", name, len(dataset), len(dataset.class_names) - 1)
    return datasets


def unite_class_names(names: Sequence[str], datasets: Sequence[DetectionDataset]) -> None:
    """Give VOC and CSV sets without CLASSES the union of their class names, since each may lack objects of a class."""
    open_sets = [dataset for dataset in datasets if isinstance(dataset, ArrayDataset) and dataset.names_are_written]
    union = sorted({name for dataset in open_sets for name in dataset.class_names[1:]})
    for open_set in open_sets:
        open_set.relabel((BACKGROUND, *union))
    for name, dataset in zip(names, datasets, strict=True):
        if tuple(dataset.class_names) != tuple(datasets[0].class_names):
            raise ConfigError(
                f"datasets that are used together must have the same classes, in the same order. "
                f"{names[0]}: {', '.join(datasets[0].class_names[1:])}. {name}: {', '.join(dataset.class_names[1:])}. "
                "A CLASSES list in DATASETS.CUSTOM fixes them"
            )


def make_train_loader(
    cfg: CfgNode, datasets: Sequence[DetectionDataset], start_iteration: int = 0, *, rank: int = 0, world_size: int = 1
) -> DataLoader:
    """Build the loader of the batches (see ``collate_training``) from ``start_iteration`` to SOLVER.MAX_ITER - 1.

    A training that continues at ``start_iteration`` gets the samples of an unbroken one. Each of ``world_size``
    processes takes SOLVER.BATCH_SIZE images an iteration.
    """
    seed = cfg.SOLVER.SEED
    augmentation = cfg.INPUT.AUGMENTATION
    samples = TrainingSamples(
        datasets,
        height_width(cfg.INPUT.IMAGE_SIZE),
        seed,
        make_geometric_steps(cfg),
        close_position=round(cfg.SOLVER.MAX_ITER * (1 - augmentation.CLOSE)) * cfg.SOLVER.BATCH_SIZE * world_size,
        reduced_decoding=cfg.DATA_LOADER.REDUCED_DECODING,
        skip_bad=cfg.DATASETS.ON_ERROR == "skip",
    )
    sampler = IterationSampler(
        len(samples),
        cfg.SOLVER.BATCH_SIZE,
        cfg.SOLVER.MAX_ITER,
        start_iteration,
        seed,
        rank=rank,
        world_size=world_size,
        repeats=_make_repeats(datasets, cfg.DATA_LOADER.REPEAT_THRESHOLD),
    )
    return DataLoader(samples, batch_sampler=sampler, collate_fn=collate_training, **_worker_options(cfg))


def _make_repeats(datasets: Sequence[DetectionDataset], threshold: float) -> np.ndarray | None:
    """Return how often an epoch has each image of the concatenated datasets; None = once."""
    if threshold == 0:
        return None
    targets = (open_sample(datasets, index).target for index in range(sum(map(len, datasets))))
    repeats = repeat_factors([np.asarray(target["labels"]) for target in targets], threshold)
    logger.info("Images with rare classes are repeated: %d samples per epoch of %d images", repeats.sum(), len(repeats))
    return repeats


def make_geometric_steps(cfg: CfgNode) -> GeometricSteps:
    """Return the steps of INPUT.AUGMENTATION; ConfigError if two of them exclude each other."""
    augmentation = cfg.INPUT.AUGMENTATION
    steps = GeometricSteps(
        augmentation.EXPAND,
        augmentation.CROP,
        augmentation.MIRROR,
        scale=tuple(augmentation.SCALE),
        aspect=tuple(augmentation.ASPECT),
        shift=augmentation.SHIFT,
    )
    if steps.jitter and (steps.expand or steps.crop):
        raise ConfigError(
            "INPUT.AUGMENTATION.SCALE, ASPECT and SHIFT take the place of EXPAND and CROP; set EXPAND and CROP to False"
        )
    return steps


def make_test_loader(cfg: CfgNode, dataset: DetectionDataset, *, rank: int = 0, world_size: int = 1) -> DataLoader:
    """Build the loader of every image of ``dataset``, once and in order; each of several processes gets a share.

    Returns:
        A loader of (images, image_sizes, ids), see ``collate_test``.
    """
    samples = ResizedSamples(dataset, height_width(cfg.INPUT.IMAGE_SIZE))
    batches = [list(batch) for batch in share_of_batches(len(samples), cfg.TEST.BATCH_SIZE, rank, world_size)]
    return DataLoader(samples, batch_sampler=batches, collate_fn=collate_test, **_worker_options(cfg))


def _worker_options(cfg: CfgNode) -> dict:
    cores = max(available_cores() // read_launch().local_world_size, 1)
    num_workers = min(cfg.DATA_LOADER.NUM_WORKERS, cores)
    return {
        "num_workers": num_workers,
        "persistent_workers": num_workers > 0,  # an evaluation follows another
        "pin_memory": cfg.DATA_LOADER.PIN_MEMORY and torch.cuda.is_available() and cfg.MODEL.DEVICE != "cpu",
        "worker_init_fn": init_worker,
        "generator": torch.Generator(),  # its own, or each pass would advance the global one
    }


def init_worker(_: int) -> None:
    """Give a worker process one thread, and let it ignore the signals that end a training.

    A terminal and many schedulers signal all processes of a job. The main process then saves, and ends the workers.
    """
    cv2.setNumThreads(0)  # the workers are the parallelism; PyTorch gives each of them one thread
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and hasattr(signal, "sigwaitinfo"):  # Linux; elsewhere the sender of a signal is unknown
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_sigterm, args=(parent.pid,), daemon=True).start()


def _wait_for_sigterm(parent: int | None) -> None:
    """End this process at a SIGTERM from its parent, as the handler of PyTorch does, and at no other."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
