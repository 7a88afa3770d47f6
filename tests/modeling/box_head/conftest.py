"""Ways through the losses."""

import pytest
import torch


@pytest.fixture(params=["rows", "masks"])
def path_of_loss(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take either way of summing: that of a CPU, and that of fixed shapes."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: request.param == "masks")
