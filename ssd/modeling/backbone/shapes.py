"""Shapes of the feature maps of a network."""

import torch
from torch import nn
from torch.func import functional_call

from ssd.utils.errors import ConfigError


@torch.no_grad()
def feature_shapes(backbone: nn.Module, image_size: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Channels, height and width of every feature map, found without computing: on tensors that hold no data.

    Args:
        backbone: any network that maps images (B, 3, H, W) to a sequence of maps.
        image_size: (height, width) in pixels.

    Raises:
        ConfigError: the image is too small for the network.
    """
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
