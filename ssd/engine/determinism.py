"""Equal runs, equal bits (SOLVER.DETERMINISTIC)."""

import os

import torch


def make_deterministic() -> None:
    """Let PyTorch take algorithms whose results do not depend on the order in which threads come.

    Called before the first CUDA operation. An operation that has no such algorithm warns by its name, and goes on.
    """
    # cuBLAS keeps its order of additions only with workspaces of a fixed size, and reads this once, when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False  # which takes the algorithm that happens to be the quickest
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling memory that is about to be written costs time, and nothing here reads memory that was not.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
