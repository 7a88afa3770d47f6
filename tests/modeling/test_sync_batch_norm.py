"""Which layers are synchronised, and with what; the numbers: tests/engine/distributed_checks.py."""

import pytest
import torch
from torch import nn

from ssd.modeling.layers import BatchNorm2d
from ssd.modeling.sync_batch_norm import SyncBatchNorm2d, synchronise_batch_norm
from ssd.utils.errors import ConfigError


def make_model(device: str = "cpu") -> nn.Sequential:
    """Batch norms of two kinds at two depths; the first is frozen."""
    block = nn.Sequential(nn.Conv2d(4, 8, 1), BatchNorm2d(8, eps=1e-3, momentum=0.01))
    model = nn.Sequential(nn.BatchNorm2d(4), block, nn.BatchNorm2d(8)).to(device)
    model[0].eval()
    return model


@pytest.mark.parametrize(("device", "kind"), [("cpu", SyncBatchNorm2d), ("meta", nn.SyncBatchNorm)])
def test_all_that_train_are_replaced(device: str, kind: type[nn.Module]) -> None:
    """Meta tensors stand for those of a GPU."""
    model = make_model(device)
    frozen, parameters, names = model[0], list(model.parameters()), list(model.state_dict())
    synchronise_batch_norm(model)
    assert model[0] is frozen
    assert type(model[1][1]) is type(model[2]) is kind
    assert (model[1][1].eps, model[1][1].momentum) == (1e-3, 0.01)
    assert list(model.state_dict()) == names
    assert all(found is expected for found, expected in zip(model.parameters(), parameters, strict=True))


def test_alone_it_is_a_batch_norm() -> None:
    plain, model = make_model(), make_model()
    model.load_state_dict(plain.state_dict())
    synchronise_batch_norm(model)
    values = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(model(values), plain(values), rtol=0, atol=0)
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_a_layer_that_does_more_is_refused() -> None:
    class Activated(nn.BatchNorm2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input).relu()

    model = nn.Sequential(nn.Sequential(Activated(4)))
    with pytest.raises(ConfigError, match=r"SOLVER\.SYNC_BN: 0\.0 is a Activated, which cannot be synchronised"):
        synchronise_batch_norm(model)
