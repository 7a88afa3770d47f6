"""Fixtures shared by the whole suite."""

from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def goldens() -> Path:
    """The folder of arrays recorded by running other implementations (README there)."""
    return Path(__file__).parent / "goldens"
