"""Training of one image: the priors that learn its objects, and the negatives in the loss.

G ground-truth boxes, P priors. An image is a batch of one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ssd.modeling.anchors import match_priors
from ssd.modeling.box_head import Predictions, SSDBoxHead
from ssd.structures import Container
from ssd.structures.boxes import center_to_corner, pairwise_iou


@dataclass(frozen=True, eq=False)
class Matching:
    """Matches and losses of one image."""

    boxes: Tensor  # (G, 4) objects, corner form in pixels of the network input
    labels: Tensor  # (G,) int64, from 1
    iou_threshold: float  # MODEL.THRESHOLD
    prior_labels: Tensor  # (P,) int64, the class that each prior is trained to predict, 0 = background, -1 = none
    gt_index: Tensor  # (P,) int64, the object of each prior, or the one that it overlaps most; 0 without objects
    iou: Tensor  # (P,) IoU with that object; 0 without objects
    cls_loss: Tensor  # (P,) classification loss of each prior
    neg_mask: Tensor  # (P,) bool, negatives in the loss
    losses: dict[str, float]  # reg_loss and cls_loss of the image

    @property
    def pos_mask(self) -> Tensor:
        """(P,) bool, priors that are matched to an object."""
        return self.prior_labels > 0

    @property
    def is_forced(self) -> Tensor:
        """(P,) bool, priors that are matched below the threshold."""
        return self.pos_mask & (self.iou < self.iou_threshold)

    @property
    def negatives(self) -> Tensor:
        """Indices of the negatives in the loss, the hardest first."""
        return _descending(self.cls_loss, self.neg_mask)

    def priors_of(self, gt: int) -> Tensor:
        """Return the indices of the priors that are matched to an object, the highest IoU first."""
        return _descending(self.iou, self.pos_mask & (self.gt_index == gt))


def _descending(values: Tensor, mask: Tensor) -> Tensor:
    """Return the indices of a mask (P,) by descending values (P,)."""
    found = mask.nonzero().squeeze(1)
    return found[values[found].argsort(descending=True, stable=True)]


@torch.no_grad()
def match(head: SSDBoxHead, predictions: Predictions, boxes: np.ndarray, labels: np.ndarray) -> Matching:
    """Match, mine and compare as training does; boxes (G, 4) float32 are relative to the image, labels (G,) from 1."""
    priors, threshold = center_to_corner(head.priors), head.matcher.iou_threshold
    targets = Container(boxes=torch.from_numpy(boxes)[None], labels=torch.from_numpy(labels)[None]).to(priors.device)
    assignment = head.matcher(targets, head.priors)
    _, gt_index = match_priors(targets["boxes"], targets["labels"], priors, threshold)
    iou = torch.zeros_like(priors[:, 0])
    if len(labels):
        iou = pairwise_iou(targets["boxes"][0], priors).gather(0, gt_index)[0]
    cls_loss, neg_mask = head.loss.mine(predictions, assignment)
    losses = head.loss(predictions, assignment).normalized()
    height, width = head.post_processor.image_size
    size = iou.new_tensor([width, height, width, height])
    return Matching(
        boxes=(targets["boxes"][0] * size).cpu(),
        labels=targets["labels"][0].cpu(),
        iou_threshold=threshold,
        prior_labels=assignment.labels[0].cpu(),
        gt_index=gt_index[0].cpu(),
        iou=iou.cpu(),
        cls_loss=cls_loss[0].cpu(),
        neg_mask=neg_mask[0].cpu(),
        losses={name: float(loss) for name, loss in losses.items()},
    )
