"""What the fit of priors maximises (docs/priors.md has the formula and its reasons).

N boxes, S shapes, K levels. Sides are square roots of areas, in pixels of the network input.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssd.tools.priors.boxes import ImageBoxes
from ssd.tools.priors.coverage import shape_overlaps
from ssd.tools.priors.layout import Layout

RAMP = 0.2  # an IoU this far below the threshold is worth nothing, this far above it all there is
MISPLACEMENT_COST = 0.2  # of a box that lies an octave outside of what its level is for
CHANGE_COST = 0.002  # of moving a size by an octave, or of exchanging a ratio


@dataclass(frozen=True)
class FitBoxes:
    """What priors are fitted to.

    Attributes:
        boxes: (N, 4) corner form relative to the image.
        weights: (N,) their sum is 1.
        sides: (N,).
    """

    boxes: Tensor
    weights: Tensor
    sides: Tensor


def make_fit_boxes(groups: Sequence[Sequence[ImageBoxes]], layout: Layout, most: int) -> FitBoxes:
    """Weigh boxes: groups equally, and in a group each class by the square root of its count.

    Args:
        groups: of images, such as those of the data and those of the augmentation; one without objects is left out.
        layout: gives the size of the network input.
        most: boxes of a group; of more, every so-manieth is taken.
    """
    boxes, weights = [], []
    for images in groups:
        all_boxes = torch.cat([torch.zeros(0, 4), *(image.boxes for image in images)])
        all_labels = torch.cat([torch.zeros(0, dtype=torch.int64), *(image.labels for image in images)])
        step = max(1, -(-len(all_boxes) // most))
        labels = all_labels[::step]
        weight = labels.bincount().float()[labels].rsqrt()
        boxes.append(all_boxes[::step])
        weights.append(weight / weight.sum().clamp(min=1e-12))
    weight = torch.cat(weights)
    chosen = torch.cat(boxes)
    height, width = layout.image_size
    sides = ((chosen[:, 2] - chosen[:, 0]) * width * (chosen[:, 3] - chosen[:, 1]) * height).sqrt()
    return FitBoxes(chosen, weight / weight.sum().clamp(min=1e-12), sides)


def overlap_worth(iou: Tensor, iou_threshold: float) -> Tensor:
    """Return what overlaps are worth, 0 to 1: half of it is a step at the threshold, half a ramp around it."""
    ramp = ((iou - (iou_threshold - RAMP)) / (2 * RAMP)).clamp(0, 1)
    return (ramp + (iou >= iou_threshold)) / 2


def misplacement(sides: Tensor, layout: Layout) -> Tensor:
    """Return by how many octaves boxes (N,) lie outside of the sizes that each level of a layout is for, (K, N).

    A level is for sizes from its entry in MIN_SIZES to that in MAX_SIZES, the first also for all below, the last also
    for all above.
    """
    low, high = torch.tensor(layout.min_sizes).float(), torch.tensor(layout.max_sizes).float()
    low[low.argmin()], high[high.argmax()] = 0, torch.inf
    below, above = (low[:, None] / sides).log2(), (sides / high[:, None]).log2()  # (K, N)
    return below.maximum(above).clamp(min=0)


def level_overlaps(boxes: Tensor, layout: Layout, level: int, sizes: Sequence[float], aspects: Tensor) -> Tensor:
    """Return the IoU of boxes with the best-placed prior of every size and aspect ratio on a level.

    Args:
        boxes: (N, 4) corner form relative to the image.
        layout: gives the centres.
        level: from 0.
        sizes: sides in pixels.
        aspects: (A,) width over height in pixels.

    Returns:
        IoU (N, sizes, A).
    """
    height, width = layout.image_size
    side = torch.tensor(sizes, dtype=torch.float32)[:, None]
    shapes = torch.stack([side * aspects.sqrt() / width, side / aspects.sqrt() / height], dim=-1)  # (sizes, A, 2)
    if layout.clips_sizes:
        shapes = shapes.clamp(max=1)
    center_x, center_y = layout.centers(level)
    overlaps = shape_overlaps(boxes, center_x, center_y, shapes.flatten(0, 1))
    return overlaps.view(len(boxes), len(sizes), len(aspects))
