"""Transform of a batch of images on the device: colour distortion in training, and normalisation."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from ssd.data.transforms.photometric import PhotometricDraw, distort_all, distort_colors, draw_photometric
from ssd.structures import Container


def make_batch_transform(cfg: CfgNode, is_train: bool, *, rank: int = 0, world_size: int = 1) -> "BatchTransform":
    """Build the transform of INPUT.PIXEL_MEAN and PIXEL_STD; in training with colours drawn from SOLVER.SEED."""
    return BatchTransform(
        cfg.INPUT.PIXEL_MEAN,
        cfg.INPUT.PIXEL_STD,
        seed=cfg.SOLVER.SEED if is_train and cfg.INPUT.AUGMENTATION.PHOTOMETRIC else None,
        compiled=is_train and bool(cfg.SOLVER.COMPILE),
        rank=rank,
        world_size=world_size,
    )


class BatchTransform:
    """uint8 images in, normalised float images out; ``mean`` and ``std`` are RGB on the scale 0 to 255.

    The colours of an image are a function of (seed, iteration, index in the batch of all processes). Without ``seed``
    there is no distortion. ``compiled`` makes distortion and normalisation one kernel, on devices other than the CPU.
    """

    def __init__(
        self,
        mean: list[float],
        std: list[float],
        *,
        seed: int | None = None,
        compiled: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self._mean = torch.tensor(mean, dtype=torch.float32)[:, None, None]
        self._std = torch.tensor(std, dtype=torch.float32)[:, None, None]
        self._distort_on_device: Callable[..., Tensor] = distort_and_normalize
        if compiled:
            self._distort_on_device = torch.compile(distort_and_normalize)

    def __call__(self, images: Tensor, targets: Container | None = None, iteration: int | None = None) -> Tensor:
        """Return (pixel - mean) / std, float32, of images uint8 (B, 3, H, W) RGB, on their device.

        In training, ``targets`` has ``valid_area`` (B, 4), corner form in pixels; pixels outside are the border of an
        expansion, and become the mean.
        """
        self._mean, self._std = self._mean.to(images.device), self._std.to(images.device)
        area = None if targets is None else targets["valid_area"]
        if self.seed is None:
            return normalize(images.to(torch.float32), self._mean, self._std, area)
        assert iteration is not None, "in training the colours depend on the iteration"
        draw = self._draw(len(images), self.seed, iteration)
        if images.device.type == "cpu":
            return normalize(distort_colors(images.to(torch.float32), draw), self._mean, self._std, area)
        packed = draw.packed().pin_memory().to(images.device, non_blocking=True)  # else the host may wait
        return self._distort_on_device(images, packed, self._mean, self._std, area)

    def _draw(self, batch_size: int, seed: int, iteration: int) -> PhotometricDraw:
        # On the CPU, so that every device gets the same draws; NumPy mixes the two numbers into one seed.
        mixed = int(np.random.SeedSequence((seed, iteration)).generate_state(1, np.uint64)[0])
        generator = torch.Generator().manual_seed(mixed)
        draw = draw_photometric(batch_size * self.world_size, generator)
        return draw.rows(self.rank * batch_size, (self.rank + 1) * batch_size)


def distort_and_normalize(images: Tensor, packed: Tensor, mean: Tensor, std: Tensor, area: Tensor | None) -> Tensor:
    """Apply a packed draw to uint8 images (B, 3, H, W), then ``normalize``; can be compiled."""
    return normalize(distort_all(images.to(torch.float32), packed), mean, std, area)


def normalize(pixels: Tensor, mean: Tensor, std: Tensor, area: Tensor | None) -> Tensor:
    """Return (pixel - mean) / std, and 0, which is the mean, outside ``area`` (B, 4), corner form in pixels.

    ``pixels`` are float (B, 3, H, W), ``mean`` and ``std`` (3, 1, 1).
    """
    pixels = (pixels - mean).div_(std)
    if area is None:
        return pixels
    return pixels.mul_(inside(area, *pixels.shape[2:])[:, None])


def inside(area: Tensor, height: int, width: int) -> Tensor:
    """Return which pixels, bool (B, height, width), have their centre in ``area``, (B, 4) corner form in pixels."""
    x = torch.arange(width, device=area.device) + 0.5
    y = torch.arange(height, device=area.device) + 0.5
    x1, y1, x2, y2 = area[:, :, None].unbind(dim=1)  # (B, 1) each
    inside_x, inside_y = (x >= x1) & (x <= x2), (y >= y1) & (y <= y2)  # (B, width), (B, height)
    return inside_y[:, :, None] & inside_x[:, None, :]
