"""Weights from names and shapes alone: those under which the recordings of other implementations were made."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Of other projects; ours end in l2_norm.
_L2_NORMS = ("L2Norm.weight", "backbone.scale_weight", "rescale_factors", "conv4_3_norm.0")


def hashed(name: str, shape: Sequence[int], make_state: Callable[[int], Any] = np.random.RandomState) -> Tensor:
    """The values of one tensor, drawn from what ``make_state`` makes of the crc32 of its name."""
    state = make_state(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if name.endswith("running_mean"):
        values = state.normal(0, 0.1, shape)
    elif name in _L2_NORMS or name.endswith("l2_norm.weight"):
        values = state.uniform(10, 30, shape)
    elif name.endswith(("bias", ".1")):  # .1: of Caffe
        values = state.normal(0, 0.05, shape)
    elif len(shape) == 1:  # running_var and the weights of batch norms
        values = state.uniform(0.5, 1.5, shape)
    else:
        values = state.normal(0, np.sqrt(1 / np.prod(shape[1:])), shape)
    return torch.from_numpy(values.astype(np.float32))
