"""Weights under which the recordings of other implementations were made."""

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="session")
def hashed() -> Callable[[str, Sequence[int]], Tensor]:
    """A function that gives the values of a tensor from its name and shape alone."""

    def values_of(name: str, shape: Sequence[int]) -> Tensor:
        state = np.random.RandomState(zlib.crc32(name.encode()))
        if name.endswith("num_batches_tracked"):
            return torch.tensor(0)
        if name.endswith("l2_norm.weight"):
            values = state.uniform(10, 30, shape)
        elif name.endswith("running_mean"):
            values = state.normal(0, 0.1, shape)
        elif name.endswith("bias"):
            values = state.normal(0, 0.05, shape)
        elif len(shape) == 1:  # running_var and the weights of batch norm
            values = state.uniform(0.5, 1.5, shape)
        else:
            values = state.normal(0, np.sqrt(1 / np.prod(shape[1:])), shape)
        return torch.from_numpy(values.astype(np.float32))

    return values_of
