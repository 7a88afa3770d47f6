"""A trained detector as ``Predictor`` calls it, made quick for detection alone."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssd.inference.folding import fold_batch_norms
from ssd.structures import Container
from ssd.weights.precision import shorten_weights


class TorchNetwork:
    """Detects in batches of the network's size, by a PyTorch model.

    It works on a copy of the model, in channels-last memory: batch norms are folded into convolutions, and weights that
    the model would convert in every call are converted now.

    Args:
        model: a detector on its device; left as it is.
        batch_transform: normalises uint8 images on the device.

    Attributes:
        network: the copy.
    """

    def __init__(self, model: nn.Module, batch_transform: Callable[[Tensor], Tensor]):
        network = fold_batch_norms(model)
        shorten_weights(network)
        self.network = network.to(memory_format=torch.channels_last)
        self._batch_transform = batch_transform
        self._device = next(model.parameters()).device

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> list[Container]:
        """Detect in a batch.

        Args:
            images: uint8 (B, 3, S_h, S_w) RGB, on the CPU.

        Returns:
            One Container an image, on the CPU: ``boxes`` (N, 4) corner form in pixels of the network input, ``labels``
            (N,) int64 from 1, ``scores`` (N,) descending.
        """
        if self._device.type == "cuda":
            images = images.pin_memory()  # else the copy waits for the device
        pixels = self._batch_transform(images.to(self._device, non_blocking=True))
        return [found.to("cpu") for found in self.network(pixels)]
