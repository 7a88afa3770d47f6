"""A batch of the past again, and which images it shows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from ssd.data.datasets import DetectionDataset
from ssd.data.reader import ends_of, locate_sample
from ssd.data.samplers import IterationSampler
from ssd.structures import Container


class ReplayedBatch(NamedTuple):
    """What was trained on in an iteration by all processes together, on the CPU.

    Attributes:
        images: uint8 (B, 3, H, W) RGB, before the colour distortion.
        targets: see ``collate_training``.
        datasets: the name of each image's dataset.
        image_ids: of the images in their datasets.
        seed: SOLVER.SEED.
    """

    images: Tensor
    targets: Container
    datasets: list[str]
    image_ids: list[int | str]
    seed: int


class BatchReplay:
    """Makes the batch of an iteration anew, which is a function of the seed and the iteration.

    So nothing has to be kept. (A dataset that draws random numbers of its own shows something else the second time.)

    Args:
        loader: of the training, see ``make_train_loader``; of any of the processes.
        names: of the datasets.
        datasets: in the loader's order.
    """

    def __init__(self, loader: DataLoader, names: Sequence[str], datasets: Sequence[DetectionDataset]):
        assert isinstance(loader.batch_sampler, IterationSampler)
        self._sampler = loader.batch_sampler
        self._loader = loader
        self._names = names
        self._datasets = datasets
        self._ends = ends_of(datasets)

    def __call__(self, iteration: int) -> ReplayedBatch:
        """Return the batch of an iteration, counted from 1."""
        own = self._sampler
        batch_size = own.batch_size * own.world_size
        (keys,) = IterationSampler(own.num_samples, batch_size, iteration, iteration - 1, own.seed)
        images, targets, rows = self._loader.collate_fn(self._loader.dataset.__getitems__(keys))  # type: ignore[attr-defined]
        datasets, image_ids = zip(*map(self._name, rows.tolist()), strict=True)
        return ReplayedBatch(images, targets, list(datasets), list(image_ids), own.seed)

    def _name(self, index: int) -> tuple[str, int | str]:
        number, row = locate_sample(self._ends, index)
        image_id, _ = self._datasets[number].get_annotation(row)
        return self._names[number], int(image_id) if isinstance(image_id, (int, np.integer)) else str(image_id)
