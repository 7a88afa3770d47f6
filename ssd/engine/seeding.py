"""Randomness inside of the network."""

import numpy as np
import torch


def seed_iteration(seed: int, iteration: int, rank: int = 0) -> None:
    """Make what the network draws in an iteration a function of the arguments: dropout, stochastic depth.

    Such layers draw from PyTorch's global generators, those of the GPUs included. Seeded anew each time, they draw in
    a continued run what they would have drawn in an unbroken one, whatever else has drawn in between.

    Args:
        seed: SOLVER.SEED.
        iteration: counted from 0.
        rank: of this process among those that train together; each has draws of its own.
    """
    mixed = np.random.SeedSequence((seed, iteration, rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(mixed[0]))
