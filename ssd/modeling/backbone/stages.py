"""Shapes of the feature maps of a backbone, and its stages: layers of one resolution, the first of which can be frozen.

A backbone that can be frozen has a method ``freezable_stages() -> list[list[nn.Module]]``, from the image on.
"""

from collections.abc import Iterable

import torch
from torch import nn
from torch.func import functional_call

from ssd.utils.errors import ConfigError


@torch.no_grad()
def feature_shapes(backbone: nn.Module, image_size: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Return (channels, height, width) of every map for an image of (height, width), on tensors that hold no data."""
    state = {**dict(backbone.named_parameters()), **dict(backbone.named_buffers())}
    weights = {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}
    was_training = backbone.training
    backbone.eval()
    try:
        features = functional_call(backbone, weights, (torch.empty(1, 3, *image_size, device="meta"),))
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"INPUT.IMAGE_SIZE {image_size} does not pass through the backbone: {error}") from error
    finally:
        backbone.train(was_training)
    return [tuple(feature.shape[1:]) for feature in features]


def split_at_strides(layers: Iterable[nn.Module]) -> list[list[nn.Module]]:
    """Group consecutive layers into stages: each layer that halves the resolution begins a new one."""
    stages: list[list[nn.Module]] = []
    for layer in layers:
        if not stages or any(getattr(module, "stride", 1) in (2, (2, 2)) for module in layer.modules()):
            stages.append([])
        stages[-1].append(layer)
    return stages


def freeze_stages(backbone: nn.Module, num_stages: int, name: str) -> list[nn.Module]:
    """Exclude the first stages of the backbone ``name`` from training, and return their layers in evaluation mode.

    They must stay in it while the rest trains: otherwise batch norm would normalise by the batch.
    """
    if num_stages == 0:
        return []
    if not hasattr(backbone, "freezable_stages"):
        raise ConfigError(
            f"MODEL.BACKBONE.FREEZE_STAGES is {num_stages}, but backbone {name!r} has no method freezable_stages(); "
            "set it to 0"
        )
    stages: list[list[nn.Module]] = backbone.freezable_stages()  # type: ignore[operator]
    if num_stages > len(stages):
        raise ConfigError(
            f"MODEL.BACKBONE.FREEZE_STAGES is {num_stages}, but backbone {name!r} has {len(stages)} stages"
        )
    frozen = [layer for stage in stages[:num_stages] for layer in stage]
    for layer in frozen:
        layer.requires_grad_(False).eval()
    return frozen


def freeze_batch_norms(backbone: nn.Module) -> list[nn.Module]:
    """Exclude the batch norms of a backbone, but for ``extras``, from training; return them in evaluation mode."""
    norms: list[nn.Module] = [
        layer
        for name, layer in backbone.named_modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and not name.startswith("extras.")
    ]
    for layer in norms:
        layer.requires_grad_(False).eval()
    return norms
