"""Which samples make a batch: of the endless stream of training samples, and of a test set."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class IterationSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (index, position): position p of the stream shows sample p % N of the permutation of epoch p // N.

    The stream is a function of the seed alone, so a run that starts at a later iteration, or that shares the batches
    among processes, sees the same samples at the same positions. Batches run across the borders of epochs: all of
    them are full and no sample is left out.

    Args:
        num_samples: N, the size of the dataset.
        batch_size: per process.
        max_iter: the iteration at which the stream ends.
        start_iteration: the first iteration.
        seed: of the permutations, at least 0.
        rank: of this process among those that train together.
        world_size: number of these processes.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        max_iter: int,
        start_iteration: int = 0,
        seed: int = 0,
        *,
        rank: int = 0,
        world_size: int = 1,
    ):
        assert num_samples > 0
        assert batch_size > 0
        assert 0 <= rank < world_size
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.start_iteration = start_iteration
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return max(self.max_iter - self.start_iteration, 0)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        current_epoch, order = -1, np.empty(0, dtype=np.int64)
        for iteration in range(self.start_iteration, self.max_iter):
            first = (iteration * self.world_size + self.rank) * self.batch_size
            batch = []
            for position in range(first, first + self.batch_size):
                epoch, offset = divmod(position, self.num_samples)
                if epoch != current_epoch:
                    current_epoch, order = epoch, self._permutation(epoch)
                batch.append((int(order[offset]), position))
            yield batch

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(self.num_samples)


def share_of_batches(num_samples: int, batch_size: int, rank: int, world_size: int) -> list[range]:
    """Return the batches of indices of one process among those that go through a dataset together, once and in order.

    The batches are those of a single process, each whole, since a network may round differently in another batch. The
    shares of the ranks follow one another and differ by a batch at most; some are empty if there are fewer batches.
    """
    batches = [range(start, min(start + batch_size, num_samples)) for start in range(0, num_samples, batch_size)]
    return batches[rank * len(batches) // world_size : (rank + 1) * len(batches) // world_size]
