"""Which sample takes the place of one whose image turns out to be damaged in training."""

import logging

import numpy as np
import torch

from ssd.utils.errors import DatasetError, SSDError

logger = logging.getLogger(__name__)

_MAX_DRAWS = 100  # without one that can be read, the next will not be either
_NAMED = 5  # damaged images, each with a warning; more of them are counted now and then


class Replacement:
    """Draws replacements as a function of (seed, position), and counts the samples that need one.

    The stream stays what it is whoever reads it: the same damaged image at the same position has the same replacement,
    in every process and after a restart. Each sample of the datasets is as likely as the others.

    Args:
        num_samples: of all datasets.
        seed: SOLVER.SEED.
    """

    def __init__(self, num_samples: int, seed: int):
        self._num_samples = num_samples
        self._seed = seed
        self._is_damaged = torch.zeros(num_samples, dtype=torch.bool).share_memory_()  # by all workers

    @property
    def count(self) -> int:
        """The number of samples found damaged so far."""
        return int(self._is_damaged.sum())

    def draw(self, position: int, attempt: int, error: SSDError) -> int:
        """Return the index of another sample.

        Args:
            position: in the sample stream.
            attempt: from 0; the samples of lower ones were damaged too.
            error: of the sample that is replaced.

        Raises:
            DatasetError: there were too many attempts.
        """
        if attempt == _MAX_DRAWS:
            raise DatasetError(
                f"{_MAX_DRAWS} samples that were drawn in place of damaged ones are damaged too; the last: {error}. "
                "check-data lists what is wrong with the dataset"
            )
        return int(np.random.default_rng((self._seed, position, attempt)).integers(self._num_samples))

    def report(self, index: int, error: SSDError) -> None:
        """Count a damaged sample and warn: of the first few by name, then of their number as it grows tenfold."""
        if self._is_damaged[index]:
            return
        self._is_damaged[index] = True
        count = self.count
        if count <= _NAMED:
            logger.warning("Damaged sample, another is trained on in its place: %s", error)
        elif count in (10, 100, 1000, 10_000, 100_000):
            logger.warning("%d damaged samples so far, of %d; the last: %s", count, self._num_samples, error)
