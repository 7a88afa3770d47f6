"""How well priors cover boxes: best overlaps, matches, and what a shape could reach on a grid of centres.

B images, G boxes (padded to the largest count of the batch), P priors, N boxes, S shapes.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ssd.modeling.anchors.matcher import match_priors
from ssd.structures.boxes import pairwise_iou


class Matches(NamedTuple):
    """What training would make of a batch of boxes.

    Attributes:
        best_iou: (B, G) with the best prior; 0 for padding.
        best_prior: (B, G) int64, its index.
        num_positives: (B, G) int64, priors matched to the box, at least 1 as long as there are enough priors.
        is_forced: (B, G) bool, no prior that the box is matched to reaches the threshold: only the forced match.
        positives: (P,) int64, images in which the prior is matched.
    """

    best_iou: Tensor
    best_prior: Tensor
    num_positives: Tensor
    is_forced: Tensor
    positives: Tensor


def match_boxes(gt_boxes: Tensor, gt_labels: Tensor, priors: Tensor, iou_threshold: float) -> Matches:
    """Match as training does, see ``match_priors``, and tell what each box gets.

    Args:
        gt_boxes: (B, G, 4) corner form relative to the image; G may be 0.
        gt_labels: (B, G) int64, from 1; 0 marks padding.
        priors: (P, 4) corner form relative to the image.
        iou_threshold: least IoU of a match, above 0.
    """
    if gt_labels.shape[1] == 0:
        empty = torch.zeros_like(gt_labels)
        return Matches(empty.float(), empty, empty, empty.bool(), empty.new_zeros(len(priors)))
    is_object = gt_labels > 0
    iou = pairwise_iou(gt_boxes * is_object[..., None], priors)  # (B, G, P); padding overlaps nothing
    best_iou, best_prior = iou.max(dim=2)
    labels, gt_index = match_priors(gt_boxes, gt_labels, priors, iou_threshold)
    is_positive = labels > 0  # (B, P)
    is_reached = is_positive & (iou.gather(1, gt_index[:, None]).squeeze(1) >= iou_threshold)
    counts = torch.zeros_like(gt_labels)
    num_positives = counts.scatter_add(1, gt_index, is_positive.long())
    num_reached = counts.scatter_add(1, gt_index, is_reached.long())
    return Matches(best_iou, best_prior, num_positives, is_object & (num_reached == 0), is_positive.sum(dim=0))


def shape_overlaps(boxes: Tensor, center_x: Tensor, center_y: Tensor, shapes: Tensor) -> Tensor:
    """Return the IoU of boxes with the best-placed prior of each shape on a grid of centres.

    That is the prior at the nearest centre: along each axis the overlap of a box and a prior does not grow with the
    distance of their centres, and the union is what both cover less the overlap.

    Args:
        boxes: (N, 4) corner form, any unit.
        center_x: (columns,) same unit.
        center_y: (rows,) same unit.
        shapes: (S, 2) width and height, same unit.

    Returns:
        IoU (N, S).
    """
    overlaps = []
    for low, high, centers, sides in (
        (boxes[:, 0], boxes[:, 2], center_x, shapes[:, 0]),
        (boxes[:, 1], boxes[:, 3], center_y, shapes[:, 1]),
    ):
        distance = (((low + high) / 2)[:, None] - centers).abs().amin(dim=1)[:, None]  # (N, 1)
        extent = (high - low)[:, None]
        overlap = (extent + sides) / 2 - distance  # (N, S)
        overlaps.append(overlap.minimum(extent).minimum(sides).clamp(min=0))
    intersection = overlaps[0] * overlaps[1]
    area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))[:, None]
    return intersection / (area + shapes.prod(dim=1) - intersection)


def least_sure_size(iou_threshold: float) -> float:
    """Return the side of the smallest square, in strides, that priors of its own shape reach wherever it lies.

    The nearest centre is at most half a stride away along each axis. With side a, (a - 1/2)^2 is the intersection and
    2 a^2 - (a - 1/2)^2 the union; their quotient is the threshold t at a = 1 / (2 - 2 sqrt(2 t / (1 + t))), for
    t = 0.5 2.72 strides.
    """
    if iou_threshold >= 1:
        return math.inf
    return 1 / (2 - 2 * math.sqrt(2 * iou_threshold / (1 + iou_threshold)))
