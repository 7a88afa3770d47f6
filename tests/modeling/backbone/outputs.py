"""Random weights, outputs of the layers of a network, and sizes of maps."""

from collections.abc import Collection, Iterable, Mapping

from torch import Tensor, nn


def outputs_at(indices: Collection[int], stages: Iterable[nn.Module], images: Tensor) -> list[Tensor]:
    """Outputs of some of the stages in a row."""
    x, outputs = images, []
    for index, stage in enumerate(stages):
        x = stage(x)
        if index in indices:
            outputs.append(x)
    return outputs


def randomise(model: nn.Module) -> None:
    """Give a model weights under which no layer is the identity and no activation vanishes."""
    for name, tensor in model.state_dict().items():
        if name.endswith(("running_var", "running_mean")):
            tensor.uniform_(0.5, 1.5)
        elif tensor.dim() == 1:
            tensor.uniform_(-0.5, 1.5)


def watch(layers: Mapping[int, nn.Module]) -> dict[int, Tensor]:
    """Output of each layer in its last pass, from now on."""
    outputs: dict[int, Tensor] = {}
    for index, layer in layers.items():
        layer.register_forward_hook(lambda _, __, output, index=index: outputs.update({index: output}))
    return outputs


def squares(*sides: int) -> list[tuple[int, int]]:
    return [(side, side) for side in sides]
