"""Random colours of SSD training (SSD, Sec. 2.2, after Howard, arXiv:1312.5402), for a whole batch at once.

Values are not clipped and may leave 0 to 255, as in the original code. Without clipping, brightness and contrast (an
affine map with positive factor, equal for all channels) commute with saturation and hue. So the original's random
place of contrast makes no difference, and is left out.

Legend: B images, N some of them, H and W height and width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Ranges and probability of the original code of SSD.
BRIGHTNESS = 32.0  # grey levels, up or down
CONTRAST = (0.5, 1.5)
SATURATION = (0.5, 1.5)
HUE = 18.0  # degrees, either way
PROBABILITY = 0.5  # of each of the four, and of exchanging channels

_CHANNEL_ORDERS = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])


@dataclass(frozen=True)
class PhotometricDraw:
    """Distortion of each image of a batch; CPU tensors."""

    brightness: Tensor  # (B,) grey levels to add; 0 = unchanged
    contrast: Tensor  # (B,) factor of the brightened pixel; 1 = unchanged
    saturation: Tensor  # (B,) factor of the saturation; 1 = unchanged
    hue: Tensor  # (B,) degrees to turn the hue; 0 = unchanged
    channels: Tensor  # (B, 3) int64, source channel of each output channel

    def rows(self, start: int, stop: int) -> "PhotometricDraw":
        """Return the draws of images ``start`` to ``stop``."""
        return PhotometricDraw(*(getattr(self, name)[start:stop] for name in self.__dataclass_fields__))

    def packed(self) -> Tensor:
        """Return all fields in one float tensor (B, 7), which reaches a device in one copy; see ``distort_all``."""
        columns = torch.stack([self.brightness, self.contrast, self.saturation, self.hue], dim=1)
        return torch.cat([columns, self.channels], dim=1)


def draw_photometric(batch_size: int, generator: torch.Generator) -> PhotometricDraw:
    """Draw the distortion of ``batch_size`` images."""
    is_drawn = torch.rand(batch_size, 5, generator=generator) < PROBABILITY
    amount = torch.rand(batch_size, 4, generator=generator)
    order = torch.randint(len(_CHANNEL_ORDERS), (batch_size,), generator=generator)

    def pick(column: int, low: float, high: float, neutral: float) -> Tensor:
        return torch.where(is_drawn[:, column], low + amount[:, column] * (high - low), neutral)

    return PhotometricDraw(
        brightness=pick(0, -BRIGHTNESS, BRIGHTNESS, 0.0),
        contrast=pick(1, *CONTRAST, 1.0),
        saturation=pick(2, *SATURATION, 1.0),
        hue=pick(3, -HUE, HUE, 0.0),
        channels=_CHANNEL_ORDERS[torch.where(is_drawn[:, 4], order, 0)],
    )


def distort_colors(images: Tensor, draw: PhotometricDraw) -> Tensor:
    """Apply a draw to images float (B, 3, H, W) RGB, 0 to 255, on the CPU. Neutral parts cost nothing."""
    contrast = draw.contrast.to(images)[:, None, None, None]
    shift = (draw.contrast * draw.brightness).to(images)[:, None, None, None]
    distorted = (images * contrast).add_(shift)  # contrast * (image + brightness)
    hue, saturation = draw.hue.to(images)[:, None, None], draw.saturation.to(images)[:, None, None]
    rows = (draw.hue != 0).nonzero()[:, 0]
    if len(rows):
        distorted[rows] = turn_hue(distorted[rows], hue[rows], saturation[rows])
    rows = ((draw.saturation != 1) & (draw.hue == 0)).nonzero()[:, 0]
    if len(rows):
        distorted[rows] = scale_saturation(distorted[rows], saturation[rows])
    rows = (draw.channels != torch.arange(3)).any(dim=1).nonzero()[:, 0]
    if len(rows):
        distorted[rows] = distorted[rows[:, None], draw.channels[rows]]
    return distorted


def distort_all(images: Tensor, packed: Tensor) -> Tensor:
    """Do the same as ``distort_colors`` on any device. No shape depends on the draw, so the host need not wait.

    ``images`` are float (B, 3, H, W) RGB, 0 to 255; ``packed`` is (B, 7), see ``PhotometricDraw.packed``.
    """
    brightness, contrast, saturation, hue = packed[:, :4, None, None].unbind(dim=1)  # (B, 1, 1) each
    distorted = (images + brightness[:, None]) * contrast[:, None]
    turned = turn_hue(distorted, hue, saturation)
    distorted = torch.where(hue[:, None] != 0, turned, scale_saturation(distorted, saturation))
    return distorted.gather(1, packed[:, 4:, None, None].long().expand_as(images))


def scale_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the S of HSV: with V = max(R, G, B), each channel c becomes V - factor * (V - c).

    ``images`` are float (N, 3, H, W) RGB; ``factor`` broadcasts to (N, H, W).
    """
    value = images.amax(dim=1, keepdim=True)
    return torch.lerp(value, images, factor[:, None])


def turn_hue(images: Tensor, degrees: Tensor, saturation: Tensor) -> Tensor:
    """Turn the H of HSV by ``degrees`` and scale the S by ``saturation``; both broadcast to (N, H, W)."""
    red, green, blue = images.unbind(dim=1)  # (N, H, W) each
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    # Hue in sixths of the circle, from red: 0, 2 and 4 at the primary colours.
    hue = torch.where(green == value, blue - red + 2 * chroma, red - green + 4 * chroma)
    hue = torch.where(red == value, green - blue, hue)
    hue = hue / chroma.clamp(min=torch.finfo(images.dtype).tiny)
    hue = (hue + degrees / 60).remainder_(6)
    # Share of the chroma in each channel, (N, 3, H, W): 1 within a sixth of its primary colour, 0 beyond two sixths.
    share = torch.stack([(hue - 3).abs_() - 1, 2 - (hue - 2).abs_(), 2 - (hue - 4).abs_()], dim=1).clamp_(0, 1)
    chroma = chroma * saturation
    return torch.addcmul((value - chroma)[:, None], chroma[:, None], share)
