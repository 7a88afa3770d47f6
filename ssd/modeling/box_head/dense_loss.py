"""The training objective with the parts of later detectors: sigmoid scores, focal loss, soft labels and GIoU.

B images, P priors, C classes with background, N rows: pairs of an image and a prior.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssd.modeling.anchors import Assignment, BoxCoder
from ssd.modeling.box_head.box_predictor import Predictions
from ssd.modeling.box_head.loss import LossSums, MultiBoxLoss, hard_negative_mining
from ssd.structures.boxes import center_to_corner, paired_ious

# Weight of a positive class in the focal loss, 1 - FOCAL_ALPHA that of the others (arXiv:1708.02002, Sec. 4.1). Its
# exponent gamma is 2, as there.
FOCAL_ALPHA = 0.25


class DenseLoss(MultiBoxLoss):
    """MultiBoxLoss, which it equals with its defaults, with other terms. Priors of label -1 are left out.

    Args:
        score_function: "softmax" or "sigmoid", see ``class_scores``. The cross-entropy of sigmoid scores is summed over
            the classes without background.
        cls_loss: "mined" = cross-entropy over positives and hard negatives; "focal" = focal loss over all priors.
        quality: Target of a positive's class, instead of 1 ("none"): "iou" = IoU of its predicted box with its object,
            "relative" = that, divided by the largest of its object. With softmax the background's is the rest.
            No gradient passes through it (Generalized Focal Loss, arXiv:2006.04388, Sec. 3.1).
        l1_weight: Weight of the smooth L1 loss of the offsets.
        giou_weight: Weight of 1 - GIoU of the predicted box (arXiv:1902.09630, Sec. 3).
    """

    def __init__(
        self,
        neg_pos_ratio: int,
        box_coder: BoxCoder,
        *,
        score_function: str = "softmax",
        cls_loss: str = "mined",
        quality: str = "none",
        l1_weight: float = 1.0,
        giou_weight: float = 0.0,
    ):
        super().__init__(neg_pos_ratio)
        self.box_coder = box_coder
        self.score_function = score_function
        self.is_focal = cls_loss == "focal"
        self.quality = quality
        self.l1_weight = l1_weight
        self.giou_weight = giou_weight

    def forward(self, predictions: Predictions, assignment: Assignment) -> LossSums:
        """Return the sums "reg_loss" and "cls_loss" of a batch."""
        labels, pos_mask = assignment.labels, assignment.labels > 0
        if self.is_focal:
            used, rows = labels >= 0, None
        else:
            used = pos_mask | self.mine(predictions, assignment)[1]
            rows = _find_rows(used)
        reg_loss, quality = self._compare_boxes(predictions.bbox_pred, assignment)
        cls_losses = self._classify(*(_take(values, rows) for values in (predictions.cls_logits, labels, quality)))
        cls_loss = torch.where(_take(used, rows), cls_losses, 0).sum()
        return LossSums({"reg_loss": reg_loss, "cls_loss": cls_loss}, pos_mask.sum(dim=1).clamp(min=1))

    def mine(self, predictions: Predictions, assignment: Assignment) -> tuple[Tensor, Tensor]:
        """See MultiBoxLoss; without quality."""
        labels, cls_logits = assignment.labels, predictions.cls_logits
        quality = torch.ones_like(cls_logits[..., 0])
        with torch.no_grad():
            cls_loss = self._classify(*(_take(values, None) for values in (cls_logits, labels, quality)))
        cls_loss = cls_loss.view_as(labels)
        return cls_loss, labels == 0 if self.is_focal else hard_negative_mining(cls_loss, labels, self.neg_pos_ratio)

    def _compare_boxes(self, bbox_pred: Tensor, assignment: Assignment) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses of boxes, and the target of each prior's own class (B, P)."""
        pos_mask = assignment.labels > 0
        rows = _find_rows(pos_mask)
        is_pos, targets, offsets = (_take(values, rows) for values in (pos_mask, assignment.bbox_targets, bbox_pred))
        offsets = torch.where(is_pos[:, None], offsets, targets)  # (N, 4); elsewhere no loss, and no gradient
        # IoU does not change when x or y is scaled or moved, so that one unit prior serves for all.
        unit_prior = F.pad(offsets.new_ones(1, 2), (2, 0))
        boxes, gt_boxes = (center_to_corner(self.box_coder.decode(values, unit_prior)) for values in (offsets, targets))
        iou, giou = paired_ious(boxes, gt_boxes)  # (N,)
        reg_loss = self.l1_weight * F.smooth_l1_loss(offsets, targets, reduction="sum")
        if self.giou_weight > 0:
            reg_loss = reg_loss + self.giou_weight * (1 - giou).sum()
        quality = torch.ones_like(bbox_pred[..., 0])  # (B, P)
        if self.quality == "none":
            return reg_loss, quality
        iou = torch.where(is_pos, iou.detach(), 1)
        quality = iou.view_as(quality) if rows is None else quality.flatten().index_copy(0, rows, iou).view_as(quality)
        return reg_loss, relative_quality(quality, assignment) if self.quality == "relative" else quality

    def _classify(self, cls_logits: Tensor, labels: Tensor, quality: Tensor) -> Tensor:
        """Return the classification loss (N,) of logits (N, C), labels (N,) and the targets (N,) of their classes."""
        if self.score_function == "sigmoid":
            own_class = labels[:, None] == torch.arange(1, cls_logits.shape[1], device=labels.device)  # (N, C - 1)
            targets = own_class * quality[:, None]
            losses = F.binary_cross_entropy_with_logits(cls_logits[:, 1:], targets, reduction="none")
            if self.is_focal:
                losses = losses * _focal_weight(cls_logits[:, 1:].sigmoid(), targets, own_class)
            return losses.sum(dim=1)
        log_scores = cls_logits.log_softmax(dim=1)
        own = log_scores.gather(1, labels.clamp(min=0)[:, None]).squeeze(1)
        losses = -quality * own - (1 - quality) * log_scores[:, 0]
        return losses * _focal_weight(own.exp(), quality, labels > 0) if self.is_focal else losses


def relative_quality(quality: Tensor, assignment: Assignment) -> Tensor:
    """Divide the quality (B, P) of positives by the largest among the priors of the same object."""
    pos_mask = assignment.labels > 0
    group = assignment.gt_index.clamp(max=quality.shape[1] - 1)  # an image may have more objects than priors
    best = torch.zeros_like(quality).scatter_reduce(1, group, torch.where(pos_mask, quality, 0), "amax")
    return torch.where(pos_mask, quality / best.gather(1, group).clamp(min=1e-6), quality)


def _focal_weight(scores: Tensor, targets: Tensor, is_positive: Tensor) -> Tensor:
    """Return the factor on the cross-entropy: (1 - p)^2 of the focal loss for a target of 1, with its alpha."""
    return torch.where(is_positive, FOCAL_ALPHA, 1 - FOCAL_ALPHA) * (targets - scores).square()


def _find_rows(mask: Tensor) -> Tensor | None:
    """Return the true rows of a mask (B, P); None = all, on a GPU, which must not wait for their number."""
    on_cpu = mask.device.type == "cpu" and not torch.compiler.is_compiling()
    return mask.flatten().nonzero().squeeze(1) if on_cpu else None


def _take(values: Tensor, rows: Tensor | None) -> Tensor:
    """Return rows (N, ...) of values (B, P, ...)."""
    flat = values.flatten(0, 1)
    return flat if rows is None else flat.index_select(0, rows)
