"""The training objective (SSD, Sec. 2.2, eqs. 1 to 3).

B images, P priors, C classes with background.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssd.modeling.anchors import Assignment
from ssd.modeling.box_head.box_predictor import Predictions


class LossSums(NamedTuple):
    """Losses of a batch before their division by the number of positives N (SSD, eq. 1)."""

    sums: dict[str, Tensor]  # scalar sums over the batch, such as "reg_loss" and "cls_loss"
    num_pos: Tensor  # (B,) share of each image in N

    def normalized(self) -> dict[str, Tensor]:
        """Return the losses of this batch, divided by its N."""
        num_pos = self.num_pos.sum()
        return {name: loss / num_pos for name, loss in self.sums.items()}


class MultiBoxLoss(nn.Module):
    """Cross-entropy over positives and ``neg_pos_ratio`` hard negatives for each, and smooth L1 over positives.

    An image without positives counts as one, in the mining and in N: it contributes its ``neg_pos_ratio`` hardest
    negatives. (The paper has no answer to N = 0; lufficc/SSD divides by zero.)
    """

    def __init__(self, neg_pos_ratio: int):
        super().__init__()
        self.neg_pos_ratio = neg_pos_ratio

    def forward(self, predictions: Predictions, assignment: Assignment) -> LossSums:
        """Return the sums "reg_loss" and "cls_loss" of a batch."""
        labels, (_, neg_mask) = assignment.labels, self.mine(predictions, assignment)
        # A GPU must not wait for the number of rows; a CPU has half the work where only the rows that count are used.
        on_cpu = labels.device.type == "cpu" and not torch.compiler.is_compiling()
        sum_losses = _sum_selected_rows if on_cpu else _sum_masked
        return LossSums(sum_losses(predictions, assignment, neg_mask), (labels > 0).sum(dim=1).clamp(min=1))

    def mine(self, predictions: Predictions, assignment: Assignment) -> tuple[Tensor, Tensor]:
        """Return the classification loss of every prior (B, P), and the negatives in the sum, bool (B, P)."""
        with torch.no_grad():
            cls_loss = classification_loss(predictions.cls_logits, assignment.labels)
            return cls_loss, hard_negative_mining(cls_loss, assignment.labels, self.neg_pos_ratio)


def classification_loss(cls_logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy (B, P) of logits (B, P, C); that of a negative is -log of its background probability."""
    return F.cross_entropy(cls_logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)


def _sum_masked(predictions: Predictions, assignment: Assignment, neg_mask: Tensor) -> dict[str, Tensor]:
    """Sum the losses in tensors whose shapes do not depend on the objects."""
    labels, bbox_pred = assignment.labels, predictions.bbox_pred
    pos_mask = labels > 0
    cls_loss = classification_loss(predictions.cls_logits, labels)
    # Background priors get their own prediction as the target: less work than masking losses and gradients.
    bbox_targets = torch.where(pos_mask[..., None], assignment.bbox_targets, bbox_pred.detach())
    return {
        "reg_loss": F.smooth_l1_loss(bbox_pred, bbox_targets, reduction="sum"),
        "cls_loss": torch.where(pos_mask | neg_mask, cls_loss, 0).sum(),
    }


def _sum_selected_rows(predictions: Predictions, assignment: Assignment, neg_mask: Tensor) -> dict[str, Tensor]:
    """Sum the same losses over the rows that count, a few in a hundred."""
    pos_mask = assignment.labels > 0
    pos_rows = pos_mask.flatten().nonzero().squeeze(1)
    rows = (pos_mask | neg_mask).flatten().nonzero().squeeze(1)
    cls_logits = predictions.cls_logits.flatten(0, 1).index_select(0, rows)
    bbox_pred = predictions.bbox_pred.flatten(0, 1).index_select(0, pos_rows)
    bbox_targets = assignment.bbox_targets.flatten(0, 1).index_select(0, pos_rows)
    return {
        "reg_loss": F.smooth_l1_loss(bbox_pred, bbox_targets, reduction="sum"),
        "cls_loss": F.cross_entropy(cls_logits, assignment.labels.flatten()[rows], reduction="sum"),
    }


def hard_negative_mining(loss: Tensor, labels: Tensor, neg_pos_ratio: int) -> Tensor:
    """Choose the negatives with the highest classification loss (B, P) of each image as neg_mask (B, P), bool.

    There are ``neg_pos_ratio`` for each positive, or all if there are fewer (SSD, Sec. 2.2, "Hard negative mining").
    """
    pos_mask = labels > 0
    num_neg = neg_pos_ratio * pos_mask.sum(dim=1, keepdim=True).clamp(min=1)  # (B, 1)
    loss = loss.nan_to_num(nan=torch.inf, posinf=torch.inf).masked_fill(labels != 0, -torch.inf)  # NaN is the hardest
    if loss.device.type == "cpu" and not torch.compiler.is_compiling():
        order = loss.topk(min(int(num_neg.max()), loss.shape[1]), dim=1).indices
    else:
        order = loss.argsort(dim=1, descending=True)  # a GPU is not asked for the largest number
    rank = torch.arange(order.shape[1], device=loss.device)
    return torch.zeros_like(pos_mask).scatter(1, order, rank < num_neg) & (labels == 0)
