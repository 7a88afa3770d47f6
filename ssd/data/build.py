"""Datasets and loaders from a configuration."""

import logging
from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from ssd.data.catalog import dataset_names, make_dataset
from ssd.data.class_names import unite_class_names
from ssd.data.datasets import DetectionDataset
from ssd.data.samplers import IterationSampler, share_of_batches
from ssd.data.samples import ResizedSamples, TrainingSamples, collate_test, collate_training
from ssd.data.transforms.geometry import GeometricSteps
from ssd.data.workers import init_worker
from ssd.structures.size import height_width
from ssd.utils.distributed import read_launch
from ssd.utils.errors import ConfigError
from ssd.utils.machine import available_cores

logger = logging.getLogger(__name__)


def build_datasets(cfg: CfgNode, is_train: bool, class_names: Sequence[str] | None = None) -> list[DetectionDataset]:
    """Build the datasets of DATASETS.TRAIN or TEST.

    Args:
        cfg: the configuration.
        is_train: which of the two; objects that are marked difficult are left out of training.
        class_names: background first; fixes the labels, for example to those of a checkpoint. None = as the sets say,
            and then all must say the same. VOC and CSV sets without CLASSES use the names that any of them has.

    Returns:
        One dataset per name, in order, all with the same ``class_names``.

    Raises:
        ConfigError: no dataset is named, a name is unknown, or the class names differ.
        DatasetError: data is missing or malformed.
    """
    key = "TRAIN" if is_train else "TEST"
    names = list(cfg.DATASETS.TRAIN if is_train else cfg.DATASETS.TEST)
    if not names:
        examples = ", ".join(dataset_names()[:3])
        raise ConfigError(
            f'DATASETS.{key} is empty; name at least one dataset, for example ("{dataset_names()[-1]}",). '
            f"The catalogue begins with {examples}; sets of your own go under DATASETS.CUSTOM"
        )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"DATASETS.{key} names {', '.join(repeated)} more than once")
    options = {"is_train": is_train, "class_names": class_names, "on_error": cfg.DATASETS.ON_ERROR}
    datasets = [make_dataset(name, cfg.DATASETS.CUSTOM, **options) for name in names]
    if class_names is None:
        unite_class_names(names, datasets)
    for name, dataset in zip(names, datasets, strict=True):
        logger.info("%s: %d images, %d classes", name, len(dataset), len(dataset.class_names) - 1)
    return datasets


def make_train_loader(
    cfg: CfgNode,
    datasets: Sequence[DetectionDataset],
    start_iteration: int = 0,
    *,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader:
    """Build the loader of the batches of iterations ``start_iteration`` to SOLVER.MAX_ITER - 1, counted from 0.

    Args:
        cfg: the configuration.
        datasets: trained on as one.
        start_iteration: the first iteration; the samples are those of an unbroken run.
        rank: of this process among those that train together.
        world_size: number of these processes; each takes SOLVER.BATCH_SIZE images an iteration.

    Returns:
        A loader of (images, targets, ids), see ``collate_training``.
    """
    seed = cfg.SOLVER.SEED
    augmentation = cfg.INPUT.AUGMENTATION
    steps = GeometricSteps(expand=augmentation.EXPAND, crop=augmentation.CROP, mirror=augmentation.MIRROR)
    samples = TrainingSamples(
        datasets,
        height_width(cfg.INPUT.IMAGE_SIZE),
        seed,
        steps,
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
    )
    options = _worker_options(cfg)
    return DataLoader(samples, batch_sampler=sampler, collate_fn=collate_training, **options)


def make_test_loader(cfg: CfgNode, dataset: DetectionDataset, *, rank: int = 0, world_size: int = 1) -> DataLoader:
    """Build the loader of every image of ``dataset``, once and in order; of several processes each has a share.

    Args:
        cfg: the configuration.
        dataset: what is evaluated.
        rank: of this process among those that evaluate together.
        world_size: number of these processes.

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
        "persistent_workers": num_workers > 0,  # evaluation comes again
        "pin_memory": cfg.DATA_LOADER.PIN_MEMORY and torch.cuda.is_available() and cfg.MODEL.DEVICE != "cpu",
        "worker_init_fn": init_worker,
        "generator": torch.Generator(),  # of its own, or each pass would advance the global one
    }
