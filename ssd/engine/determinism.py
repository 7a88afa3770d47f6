"""Reproducible randomness: seeds of iterations, and equal runs with equal bits (SOLVER.DETERMINISTIC)."""

import os

import numpy as np
import torch


def seed_iteration(seed: int, iteration: int, rank: int = 0) -> None:
    """Make the draws of a network in an iteration (dropout, stochastic depth) a function of the arguments."""
    mixed = np.random.SeedSequence((seed, iteration, rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(mixed[0]))


def make_deterministic() -> None:
    """Make PyTorch use algorithms that do not depend on the order of threads; before the first CUDA operation."""
    # cuBLAS keeps its order of additions only with workspaces of a fixed size, and reads this once, when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False  # which picks the fastest algorithm of the moment
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling memory that is about to be written costs time, and no code here reads memory that was not.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
