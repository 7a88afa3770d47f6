"""A PyTorch detector as ``Predictor`` calls it, made fast for detection alone."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssd.inference.folding import fold_batch_norms
from ssd.modeling.backbone.efficient_net import SamePaddingConv2d
from ssd.modeling.box_head import Predictions
from ssd.modeling.detector import SSDDetector
from ssd.structures import Container

# Layers whose weights autocast converts in every call. Exact types: a subclass may compute with its weight.
_CONVERTED_LAYERS = (nn.Conv2d, SamePaddingConv2d, nn.Linear)


class TorchNetwork:
    """Detect in batches of the network's size.

    This works on a copy of the detector, in channels-last memory, whose batch norms are folded into convolutions.

    Args:
        detector: Detector on its device; not modified.
        batch_transform: Normalises uint8 images on the device.
        dtype: Number format of the network under autocast.

    Attributes:
        network: The copy.
    """

    def __init__(
        self,
        detector: SSDDetector,
        batch_transform: Callable[[Tensor], Tensor],
        dtype: torch.dtype = torch.float32,
    ):
        network: SSDDetector = fold_batch_norms(detector)
        if dtype != torch.float32:
            for layer in network.modules():
                if type(layer) in _CONVERTED_LAYERS:
                    layer.to(dtype)
        self.network = network.to(memory_format=torch.channels_last)
        self._batch_transform = batch_transform
        self._device = next(detector.parameters()).device
        self._dtype = dtype

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> list[Container]:
        """Detect in a batch of uint8 images (B, 3, S_h, S_w) RGB on the CPU.

        Returns:
            One Container for each image, on the CPU: ``boxes`` (N, 4) corner form in pixels of the network input,
            ``labels`` (N,) int64 from 1, ``scores`` (N,) descending.
        """
        found = self.network.box_head.detect(self.predict(images))
        return [detections.to("cpu") for detections in found]

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Predictions:
        """Return the raw predictions for uint8 images (B, 3, S_h, S_w) RGB on the CPU."""
        if self._device.type == "cuda":
            images = images.pin_memory()  # else the copy waits for the device
        pixels = self._batch_transform(images.to(self._device, non_blocking=True))
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            return self.network.predict(pixels)
