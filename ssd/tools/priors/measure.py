"""Measures how the priors of a layout cover boxes.

N objects; G the most of an image, P priors.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ssd.tools.priors.boxes import ImageBoxes
from ssd.tools.priors.coverage import match_boxes
from ssd.tools.priors.layout import Layout

_OVERLAPS = 2**21  # objects times priors held at once; larger arrays take longer, an element


@dataclass(frozen=True)
class Coverage:
    """What each object gets.

    Attributes:
        num_images: they are in.
        sizes: (N, 2) width and height in pixels of the network input.
        labels: (N,) int64.
        best_iou: (N,) with the best prior.
        best_level: (N,) int64, the level of that prior, from 0.
        num_positives: (N,) int64, priors matched to the object.
        is_forced: (N,) bool, only the forced match saves the object.
        level_positives: matched priors of each level.
        iou_threshold: of a match.
    """

    num_images: int
    sizes: Tensor
    labels: Tensor
    best_iou: Tensor
    best_level: Tensor
    num_positives: Tensor
    is_forced: Tensor
    level_positives: list[int]
    iou_threshold: float

    @property
    def is_reached(self) -> Tensor:
        """(N,) bool, some prior reaches the threshold."""
        return self.best_iou >= self.iou_threshold

    @property
    def sides(self) -> Tensor:
        """(N,) square roots of the areas, pixels."""
        return self.sizes.prod(dim=1).sqrt()

    @property
    def aspect_ratios(self) -> Tensor:
        """(N,) width over height."""
        return self.sizes[:, 0] / self.sizes[:, 1]


def measure(images: Sequence[ImageBoxes], layout: Layout) -> Coverage:
    """Match the objects of images to the priors of a layout as training does."""
    rows: list[tuple[Tensor, ...]] = [(torch.zeros(0, 4), *[torch.zeros(0, dtype=torch.int64)] * 3)]
    numbers = [(torch.zeros(0), torch.zeros(0, dtype=torch.bool))]
    positives = torch.zeros(len(layout.priors), dtype=torch.int64)
    for boxes, labels in _batches(images, len(layout.priors)):
        found = match_boxes(boxes, labels, layout.corner_priors, layout.iou_threshold)
        is_object = labels > 0
        rows.append(tuple(x[is_object] for x in (boxes, labels, found.best_prior, found.num_positives)))
        numbers.append((found.best_iou[is_object], found.is_forced[is_object]))
        positives += found.positives
    boxes, labels, best_prior, num_positives = (torch.cat(parts) for parts in zip(*rows, strict=True))
    best_iou, is_forced = (torch.cat(parts) for parts in zip(*numbers, strict=True))
    height, width = layout.image_size
    return Coverage(
        num_images=len(images),
        sizes=(boxes[:, 2:] - boxes[:, :2]) * torch.tensor([width, height]),
        labels=labels,
        best_iou=best_iou,
        best_level=layout.level_of(best_prior),
        num_positives=num_positives,
        is_forced=is_forced,
        level_positives=[int(part.sum()) for part in positives.split(layout.level_sizes)],
        iou_threshold=layout.iou_threshold,
    )


def _batches(images: Sequence[ImageBoxes], num_priors: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Boxes (B, G, 4) and labels (B, G), padded with 0: images of similar counts together."""
    ordered = sorted((image for image in images if len(image.labels)), key=lambda image: len(image.labels))
    while ordered:
        most = len(ordered[-1].labels)
        count = max(1, _OVERLAPS // (most * num_priors))
        batch, ordered = ordered[-count:], ordered[:-count]
        yield (
            pad_sequence([image.boxes for image in batch], batch_first=True),
            pad_sequence([image.labels for image in batch], batch_first=True),
        )
