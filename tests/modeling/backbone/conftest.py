"""Fixtures of several backbones."""

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from ssd.modeling.backbone import pretrained


@pytest.fixture(scope="session")
def randomise() -> Callable[[nn.Module], None]:
    """Function that gives a model weights under which no layer is the identity and no activation vanishes."""

    def fill(model: nn.Module) -> None:
        for name, tensor in model.state_dict().items():
            if name.endswith(("running_var", "running_mean")):
                tensor.uniform_(0.5, 1.5)
            elif tensor.dim() == 1:
                tensor.uniform_(-0.5, 1.5)

    return fill


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Tensor]], list[str]]:
    """Function that puts weights in place of all files; the list that it returns gets the requested paths and URLs."""

    def install(weights: dict[str, Tensor]) -> list[str]:
        asked: list[str] = []

        def read(source: str) -> dict[str, dict[str, Tensor]]:
            asked.append(source)
            return {"model": weights}

        monkeypatch.setattr(pretrained, "read_checkpoint", read)
        return asked

    return install
