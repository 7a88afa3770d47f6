"""A trained model on single images."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ssd.data.samples import resize_image
from ssd.structures import Container


class Predictor:
    """Detects in RGB images of any size.

    Args:
        model: a detector; put into evaluation mode.
        batch_transform: normalises uint8 images on the device.
        image_size: (height, width) of the network input.
        class_names: index = label, background first.
    """

    def __init__(
        self,
        model: nn.Module,
        batch_transform: Callable[[Tensor], Tensor],
        image_size: tuple[int, int],
        class_names: Sequence[str],
    ):
        self.model = model.eval()
        self.batch_transform = batch_transform
        self.image_size = image_size
        self.class_names = tuple(class_names)
        self.device = next(model.parameters()).device

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Container:
        """Detect in one image.

        Args:
            image: RGB uint8, (H, W, 3).

        Returns:
            Arrays ``boxes`` (N, 4) corner form in pixels of ``image``, ``labels`` (N,), ``scores`` (N,) descending.
        """
        height, width = image.shape[:2]
        resized = resize_image(image, self.image_size)
        batch = torch.from_numpy(resized).permute(2, 0, 1)[None].to(self.device)
        (detections,) = self.model(self.batch_transform(batch))
        return detections.to("cpu").resize((width, height)).numpy()
