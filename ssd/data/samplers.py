"""The sample stream of a training: which sample is at which position, and random numbers for each position.

All of it is a function of the seed and the position, so the stream is the same for any number of workers and
processes, and after a restart.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Sampler

from ssd.data.datasets import ArrayDataset, DetectionDataset


@dataclass(eq=False)
class IterationSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (index, position): position p of the stream shows sample p % N of the permutation of epoch p // N.

    With ``repeats``, an epoch has their sum of samples, each as many times as they say, rounded up or down at random.
    Batches cross the borders of epochs, so that all of them are full and no sample is left out. Iterations count from
    0; ``max_iter`` ends the stream. ``batch_size`` is that of each of ``world_size`` processes.
    """

    num_samples: int  # N
    batch_size: int
    max_iter: int
    start_iteration: int = 0
    seed: int = 0
    _: KW_ONLY
    rank: int = 0
    world_size: int = 1
    repeats: np.ndarray | None = None  # (N,) mean number of times that an epoch has a sample; None = once

    def __len__(self) -> int:
        return max(self.max_iter - self.start_iteration, 0)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        current_epoch, order = -1, np.empty(0, dtype=np.int64)
        epoch_size = self.num_samples if self.repeats is None else round(self.repeats.sum())
        for iteration in range(self.start_iteration, self.max_iter):
            first = (iteration * self.world_size + self.rank) * self.batch_size
            batch = []
            for position in range(first, first + self.batch_size):
                epoch, offset = divmod(position, epoch_size)
                if epoch != current_epoch:
                    current_epoch = epoch
                    order = self._draw_epoch(np.random.default_rng((self.seed, epoch)), epoch_size)
                batch.append((int(order[offset]), position))
            yield batch

    def _draw_epoch(self, rng: np.random.Generator, epoch_size: int) -> np.ndarray:
        order = rng.permutation(self.num_samples)
        if self.repeats is None:
            return order
        # Systematic sampling: points at equal distances on a line where each sample has the length of its repeats.
        ends = self.repeats[order].cumsum()
        points = (np.arange(epoch_size) + rng.random()) * (ends[-1] / epoch_size)
        return rng.permutation(order[np.searchsorted(ends, points, side="right").clip(max=len(ends) - 1)])


def repeat_factors(labels: Sequence[np.ndarray], threshold: float) -> np.ndarray:
    """Return the mean number of times that an epoch has each image, (N,), so that rare classes are seen more often.

    A class in a share f of the images repeats them max(1, sqrt(threshold / f)) times; an image is repeated as its
    rarest class says (LVIS, arXiv:1908.03195, "repeat factor sampling"). ``labels`` has the labels of each image.
    """
    counts = Counter(label for image in labels for label in set(image.tolist()))
    factors = {label: max(1.0, math.sqrt(threshold * len(labels) / count)) for label, count in counts.items()}
    return np.array([max((factors[label] for label in set(image.tolist())), default=1.0) for image in labels])


def share_of_batches(num_samples: int, batch_size: int, rank: int, world_size: int) -> list[range]:
    """Return the batches of indices that one process evaluates, in order; each sample is in one batch of one process.

    The batches are those of a single process, since a network may round differently in another batch. The shares of the
    ranks differ by a batch at most; some may be empty.
    """
    batches = [range(start, min(start + batch_size, num_samples)) for start in range(0, num_samples, batch_size)]
    return batches[rank * len(batches) // world_size : (rank + 1) * len(batches) // world_size]


def locate_sample(datasets: Sequence[DetectionDataset], index: int) -> tuple[int, int]:
    """Return the number of the dataset that has a sample of the concatenated datasets, and its index in there."""
    ends = list(accumulate(map(len, datasets)))
    number = bisect_right(ends, index)
    return number, index - (ends[number - 1] if number else 0)


def batch_images(loader: DataLoader, datasets: Sequence[DetectionDataset], iteration: int) -> list[str]:
    """Return the image files, or else ids, of the batch of an iteration, counted from 1, those of all processes."""
    sampler = loader.batch_sampler
    assert isinstance(sampler, IterationSampler)
    batch_size = sampler.batch_size * sampler.world_size
    whole = replace(sampler, batch_size=batch_size, rank=0, world_size=1)
    (batch,) = replace(whole, start_iteration=iteration - 1, max_iter=iteration)
    names = []
    for index, _ in batch:
        number, row = locate_sample(datasets, index)
        dataset: Any = datasets[number]
        is_file = isinstance(dataset, ArrayDataset)
        names.append(str(dataset.image_path(row)) if is_file else f"image {dataset.get_annotation(row)[0]}")
    return names


def rng_at(seed: int, position: int) -> np.random.Generator:
    """Return random numbers as a function of (seed, position). Philox is counter-based: another key, another stream."""
    return np.random.Generator(np.random.Philox(key=(position << 64) + seed % 2**64))
