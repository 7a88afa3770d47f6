"""The stages of a backbone, from the image on, and freezing the first of them.

A backbone that can be frozen has a method ``freezable_stages() -> list[list[nn.Module]]``.
"""

from collections.abc import Iterable

from torch import nn

from ssd.utils.errors import ConfigError


def split_at_strides(layers: Iterable[nn.Module]) -> list[list[nn.Module]]:
    """Group consecutive layers into stages: each layer that halves the resolution begins a new one."""
    stages: list[list[nn.Module]] = []
    for layer in layers:
        if not stages or _halves(layer):
            stages.append([])
        stages[-1].append(layer)
    return stages


def _halves(layer: nn.Module) -> bool:
    return any(getattr(module, "stride", 1) in (2, (2, 2)) for module in layer.modules())


def freeze_stages(backbone: nn.Module, num_stages: int, name: str) -> list[nn.Module]:
    """Take the parameters of the first stages out of training.

    Args:
        backbone: a network with ``freezable_stages()``.
        num_stages: how many; 0 = none.
        name: what MODEL.BACKBONE.NAME calls it, for error messages.

    Returns:
        The frozen layers, in evaluation mode. They must stay in it while the rest trains: else batch norm goes on to
        normalise by the batch, and to follow it.

    Raises:
        ConfigError: the backbone has fewer stages, or none that it knows of.
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
