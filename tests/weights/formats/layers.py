"""Layers by the names of a file, for networks written down a second time in a test."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssd.weights.formats.source import StateDict


def conv(weights: StateDict, name: str, x: Tensor, *, stride: int = 1, padding: int | None = None) -> Tensor:
    """A convolution; one of one channel a filter is depthwise. None = the padding that keeps the size at stride 1."""
    weight = weights[f"{name}.weight"]
    padding = weight.shape[2] // 2 if padding is None else padding
    groups = x.shape[1] // weight.shape[1]
    return F.conv2d(x, weight, weights.get(f"{name}.bias"), stride, padding, groups=groups)


def batch_norm(weights: StateDict, name: str, x: Tensor) -> Tensor:
    """A batch norm in evaluation."""
    statistics = [weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *statistics, eps=1e-5)


def header(weights: StateDict, name: str, x: Tensor) -> Tensor:
    """A convolution, or a depthwise one with ReLU and a pointwise one."""
    if f"{name}.weight" in weights:
        return conv(weights, name, x)
    return conv(weights, f"{name}.2", conv(weights, f"{name}.0", x).relu())


def by_prior(levels: list[Tensor], num_values: int) -> Tensor:
    """Predictions (B, P, num_values) from those of the headers (B, A * num_values, H, W)."""
    flat = [level.permute(0, 2, 3, 1).reshape(len(level), -1, num_values) for level in levels]
    return torch.cat(flat, dim=1)
