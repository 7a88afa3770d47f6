"""The training objective (SSD, Sec. 2.2, eqs. 1 to 3).

B images, P priors, C classes with background.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiBoxLoss(nn.Module):
    """Cross-entropy over positives and hard negatives, plus smooth L1 over positives.

    Both sums are divided by the number of positives of the batch (N in SSD, eq. 1). An image without any positive
    counts as one, in the mining and in N: it contributes its ``neg_pos_ratio`` hardest negatives, weighted as those of
    any other image. (The paper and lufficc/SSD have no answer to N = 0; the latter divides by zero.)

    Args:
        neg_pos_ratio: negatives kept per positive.
    """

    def __init__(self, neg_pos_ratio: int):
        super().__init__()
        self.neg_pos_ratio = neg_pos_ratio

    def forward(self, cls_logits: Tensor, bbox_pred: Tensor, labels: Tensor, bbox_targets: Tensor) -> dict[str, Tensor]:
        """Compute both losses.

        Args:
            cls_logits: (B, P, C).
            bbox_pred: (B, P, 4) predicted offsets.
            labels: (B, P) int64, 0 = background.
            bbox_targets: (B, P, 4) encoded offsets.

        Returns:
            {"reg_loss": scalar, "cls_loss": scalar}; their sum is the objective (alpha = 1 in SSD, eq. 1).
        """
        pos_mask = labels > 0
        cls_loss = F.cross_entropy(cls_logits.transpose(1, 2), labels, reduction="none")  # (B, P)
        mask = pos_mask | hard_negative_mining(cls_loss.detach(), labels, self.neg_pos_ratio)
        reg_loss = F.smooth_l1_loss(bbox_pred, bbox_targets, reduction="none").sum(dim=2)  # (B, P)
        num_pos = num_positives(pos_mask).sum()
        return {
            "reg_loss": torch.where(pos_mask, reg_loss, 0).sum() / num_pos,
            "cls_loss": torch.where(mask, cls_loss, 0).sum() / num_pos,
        }


def hard_negative_mining(loss: Tensor, labels: Tensor, neg_pos_ratio: int) -> Tensor:
    """Choose the negatives that are most mistaken for objects (SSD, Sec. 2.2, "Hard negative mining").

    Args:
        loss: (B, P) classification loss; that of a negative is -log of its background probability.
        labels: (B, P) int64, 0 = background.
        neg_pos_ratio: negatives to choose per positive, in every image; all of them where there are fewer.

    Returns:
        neg_mask: (B, P) bool.
    """
    pos_mask = labels > 0
    num_neg = neg_pos_ratio * num_positives(pos_mask)  # (B, 1)
    hardest = loss.masked_fill(pos_mask, -torch.inf).argsort(dim=1, descending=True)
    is_chosen = torch.arange(loss.shape[1], device=loss.device) < num_neg  # (B, P) in the order of `hardest`
    return torch.zeros_like(pos_mask).scatter(1, hardest, is_chosen) & ~pos_mask


def num_positives(pos_mask: Tensor) -> Tensor:
    """Positives of each image (B, 1), at least one: see MultiBoxLoss on images without objects."""
    return pos_mask.sum(dim=1, keepdim=True).clamp(min=1)
