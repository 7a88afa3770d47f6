"""Inputs of heads and networks, from fixed seeds.

B images, P priors, C classes with background, G objects an image.
"""

import numpy as np
import torch
from torch import Tensor

from benchmarks.photos import HEIGHT, NUM_BOXES, WIDTH, draw_boxes
from ssd.structures import Container
from ssd.structures.boxes import center_to_corner, pairwise_iou

_SCORE_THRESHOLD = 0.01


def make_targets(batch_size: int, num_classes: int, device: torch.device) -> Container:
    """Return eight objects an image: boxes (B, G, 4) corner form relative to the image, labels (B, G)."""
    boxes = np.stack([draw_boxes(number) for number in range(batch_size)]) / (WIDTH, HEIGHT, WIDTH, HEIGHT)
    labels = torch.arange(batch_size * NUM_BOXES).view(batch_size, NUM_BOXES) % (num_classes - 1) + 1
    return Container(boxes=torch.from_numpy(boxes).float(), labels=labels).to(device)


def make_images(batch_size: int, size: int, device: torch.device) -> Tensor:
    """Return float images (B, 3, size, size) from 0 to 1."""
    return torch.rand(batch_size, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)


def make_predictions(targets: Container, priors: Tensor, num_classes: int, candidates: int) -> tuple[Tensor, Tensor]:
    """Return predictions of a detector that finds the targets, and much else.

    Args:
        targets: what it finds.
        priors: (P, 4) centre form relative to the image.
        num_classes: C.
        candidates: (prior, class) pairs an image, in the mean over images, that score above 0.01.

    Returns:
        Logits (B, P, C) and offsets (B, P, 4).
    """
    generator = torch.Generator().manual_seed(0)
    batch_size, num_priors = len(targets["boxes"]), len(priors)
    logits = torch.randn(batch_size, num_priors, num_classes, generator=generator)
    for image, boxes, labels in zip(logits, targets["boxes"].cpu(), targets["labels"].cpu(), strict=True):
        iou = pairwise_iou(center_to_corner(priors.cpu()), boxes)  # (P, G)
        image.index_add_(1, labels, 8 * iou)
    offsets = torch.randn(batch_size, num_priors, 4, generator=generator) * 0.5
    logits[..., 0] += _background_bias(logits, candidates * batch_size)
    return logits.to(priors.device), offsets.to(priors.device)


def make_untrained_predictions(batch_size: int, num_priors: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return predictions, logits (B, P, C) and offsets (B, P, 4), in which all classes score nearly the same."""
    generator = torch.Generator().manual_seed(0)
    sizes = (num_classes, 4)
    logits, offsets = (0.01 * torch.randn(batch_size, num_priors, size, generator=generator) for size in sizes)
    return logits, offsets


def count_candidates(logits: Tensor) -> float:
    """Return the (prior, class) pairs an image of (B, P, C) logits that score above 0.01, in the mean."""
    return (logits.softmax(dim=2)[..., 1:] > _SCORE_THRESHOLD).sum().item() / len(logits)


def _background_bias(logits: Tensor, total: int) -> float:
    """What to add to the background's logits so that ``total`` pairs score above the threshold.

    A pair does if exp(logit) > threshold * (sum of exp over objects + exp(bias) * exp(background)); so each pair
    has a greatest bias, and the one of rank ``total`` is it.
    """
    exponentials = logits.double().exp()
    background, objects = exponentials[..., :1], exponentials[..., 1:]
    room = objects / _SCORE_THRESHOLD - objects.sum(dim=2, keepdim=True)  # exp(bias) * background must stay below
    limits = (room / background).flatten()
    return limits.kthvalue(limits.numel() - total).values.clamp(min=1e-30).log().item()
