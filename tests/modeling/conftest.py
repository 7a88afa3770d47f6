"""Weights under which the recordings of other implementations were made, and comparing with those of lufficc/SSD."""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn


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


@pytest.fixture(scope="session")
def check_forward(goldens: Path) -> Callable[..., None]:
    """A function that compares a detector's features and predictions with those recorded for its config."""

    @torch.no_grad()
    def check(model: nn.Module, name: str, size: int, *, rtol: float, atol: float) -> None:
        golden = np.load(goldens / "lufficc" / f"network_forward_{name}.npz")
        image = torch.from_numpy(np.random.RandomState(7).normal(0, 1, (1, 3, size, size)).astype(np.float32))
        features = model.backbone(image)
        assert len(features) == sum(key.endswith("_shape") and key.startswith("feature") for key in golden)
        for level, feature in enumerate(features):
            assert feature.shape == tuple(golden[f"feature{level}_shape"])
            head = golden[f"feature{level}_flat_head"]
            np.testing.assert_allclose(feature.flatten()[: len(head)], head, rtol=rtol, atol=atol)
            mean_std = [feature.double().mean(), feature.double().std()]
            np.testing.assert_allclose(mean_std, golden[f"feature{level}_mean_std"], rtol=rtol, atol=atol)
        cls_logits, bbox_pred = model.box_head.predictor(features)
        np.testing.assert_allclose(cls_logits[:, ::37], golden["cls_logits_stride37"], rtol=rtol, atol=atol)
        np.testing.assert_allclose(bbox_pred[:, ::37], golden["bbox_pred_stride37"], rtol=rtol, atol=atol)

    return check
