"""Published weights of backbones."""

from collections.abc import Callable

import pytest
from torch import Tensor

from ssd.modeling.backbone import pretrained


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
