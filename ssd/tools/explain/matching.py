"""What training would make of an image: which priors learn its objects, and which of the others count.

G ground-truth boxes, P priors, C classes with background. An image is a batch of one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ssd.modeling.anchors import match_priors
from ssd.modeling.box_head import Predictions, SSDBoxHead
from ssd.modeling.box_head.loss import classification_loss, hard_negative_mining
from ssd.structures import Container
from ssd.structures.boxes import center_to_corner, pairwise_iou


@dataclass(frozen=True, eq=False)
class Matching:
    """What the loss of an image is made of.

    Attributes:
        boxes: (G, 4) corner form in pixels of the network input.
        labels: (G,) int64.
        iou_threshold: least IoU of a match, MODEL.THRESHOLD.
        neg_pos_ratio: negatives per positive, MODEL.NEG_POS_RATIO.
        prior_labels: (P,) int64 what each prior should say, 0 = background.
        gt_index: (P,) int64 the object nearest to each prior; 0 without objects.
        iou: (P,) with that object; 0 without objects.
        is_forced: (P,) bool, matched below the threshold: the one prior that an object gets whatever its IoU.
        bbox_targets: (P, 4) the offsets that each positive should predict; 0 for the others.
        cls_loss: (P,) cross-entropy of the network's scores.
        neg_mask: (P,) bool, background priors that are in the loss.
        neg_rank: (P,) int64 place of each background prior by its loss, 1 = the hardest; 0 for positives.
        losses: reg_loss and cls_loss of the image alone.
    """

    boxes: Tensor
    labels: Tensor
    iou_threshold: float
    neg_pos_ratio: int
    prior_labels: Tensor
    gt_index: Tensor
    iou: Tensor
    is_forced: Tensor
    bbox_targets: Tensor
    cls_loss: Tensor
    neg_mask: Tensor
    neg_rank: Tensor
    losses: dict[str, float]

    @property
    def pos_mask(self) -> Tensor:
        """(P,) bool, priors that are matched to an object."""
        return self.prior_labels > 0

    def priors_of(self, gt: int) -> Tensor:
        """Return the indices of the priors that are matched to an object, the highest IoU first."""
        found = (self.pos_mask & (self.gt_index == gt)).nonzero().squeeze(1)
        return found[self.iou[found].argsort(descending=True, stable=True)]


@torch.no_grad()
def match(head: SSDBoxHead, predictions: Predictions, boxes: np.ndarray, labels: np.ndarray) -> Matching:
    """Match, mine and compare as training does.

    Args:
        head: what does so in training.
        predictions: Predictions of the image.
        boxes: float32 (G, 4) corner form relative to the image.
        labels: int64 (G,) from 1.
    """
    device = head.priors.device
    gt_boxes, gt_labels = torch.from_numpy(boxes)[None].to(device), torch.from_numpy(labels)[None].to(device)
    assignment = head.matcher(Container(boxes=gt_boxes, labels=gt_labels), head.priors)
    prior_labels, bbox_targets = assignment
    priors, threshold = center_to_corner(head.priors), head.matcher.iou_threshold
    _, gt_index = match_priors(gt_boxes, gt_labels, priors, threshold)
    if len(labels):
        iou = pairwise_iou(gt_boxes[0], priors).gather(0, gt_index)[0]
    else:
        iou = torch.zeros_like(head.priors[:, 0])
    cls_loss = classification_loss(predictions.cls_logits, prior_labels)
    neg_pos_ratio = head.loss.neg_pos_ratio
    height, width = head.post_processor.image_size
    size = iou.new_tensor([width, height, width, height])
    losses = head.loss(predictions, assignment).normalized()
    return Matching(
        boxes=(gt_boxes[0] * size).cpu(),
        labels=gt_labels[0].cpu(),
        iou_threshold=threshold,
        neg_pos_ratio=neg_pos_ratio,
        prior_labels=prior_labels[0].cpu(),
        gt_index=gt_index[0].cpu(),
        iou=iou.cpu(),
        is_forced=((prior_labels[0] > 0) & (iou < threshold)).cpu(),
        bbox_targets=bbox_targets[0].cpu(),
        cls_loss=cls_loss[0].cpu(),
        neg_mask=hard_negative_mining(cls_loss, prior_labels, neg_pos_ratio)[0].cpu(),
        neg_rank=_rank(cls_loss[0].cpu(), prior_labels[0].cpu() == 0),
        losses={name: float(loss) for name, loss in losses.items()},
    )


def _rank(loss: Tensor, is_background: Tensor) -> Tensor:
    """Place of each background prior by its loss (P,), of equal losses the first first, as in the mining."""
    rank = torch.zeros_like(loss, dtype=torch.int64)
    order = is_background.nonzero().squeeze(1)
    order = order[loss[order].argsort(descending=True, stable=True)]
    rank[order] = torch.arange(1, len(order) + 1)
    return rank
