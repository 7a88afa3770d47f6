"""The training objective (SSD, Sec. 2.2, eqs. 1 to 3).

B images, P priors, C classes with background.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssd.utils.distributed import mean_over_processes


class MultiBoxLoss(nn.Module):
    """Cross-entropy over positives and hard negatives, plus smooth L1 over positives.

    Both sums are divided by the number of positives of the batch (N in SSD, eq. 1). Where several processes share a
    batch, each divides by their mean number, so that the mean of their losses is that of the whole batch. An image
    without any positive counts as one, in the mining and in N: it contributes its ``neg_pos_ratio`` hardest negatives,
    weighted as those of any other image. (The paper and lufficc/SSD have no answer to N = 0; the latter divides by
    zero.)

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
        is_sparse = cls_logits.device.type == "cpu" and not torch.compiler.is_compiling()
        sum_losses = sum_over_rows if is_sparse else sum_under_masks
        num_pos = mean_over_processes(num_positives(labels > 0).sum())
        reg_loss, cls_loss = sum_losses(cls_logits, bbox_pred, labels, bbox_targets, neg_pos_ratio=self.neg_pos_ratio)
        return {"reg_loss": reg_loss / num_pos, "cls_loss": cls_loss / num_pos}


def sum_under_masks(
    cls_logits: Tensor, bbox_pred: Tensor, labels: Tensor, bbox_targets: Tensor, *, neg_pos_ratio: int
) -> tuple[Tensor, Tensor]:
    """Sum the losses of a batch, (reg_loss, cls_loss), in tensors whose shapes do not depend on its objects.

    A GPU is never waited for, and can be given the same kernels again.
    """
    pos_mask = labels > 0
    cls_loss = F.cross_entropy(cls_logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
    mask = pos_mask | hard_negative_mining(cls_loss.detach(), labels, neg_pos_ratio)
    # Background priors predict what they should: less work than to mask their losses and gradients afterwards.
    pos_mask_4 = pos_mask[..., None].expand_as(bbox_pred).contiguous()
    reg_loss = F.smooth_l1_loss(bbox_pred, torch.where(pos_mask_4, bbox_targets, bbox_pred.detach()), reduction="sum")
    return reg_loss, torch.where(mask, cls_loss, 0).sum()


def sum_over_rows(
    cls_logits: Tensor, bbox_pred: Tensor, labels: Tensor, bbox_targets: Tensor, *, neg_pos_ratio: int
) -> tuple[Tensor, Tensor]:
    """Sum the same losses over the rows that count, a few in a hundred: half the work of a CPU.

    The losses of the others are only looked at, to choose the negatives.
    """
    cls_logits, labels_of_rows = cls_logits.flatten(0, 1), labels.flatten()  # (B * P, C), (B * P,)
    pos_mask = labels > 0
    with torch.no_grad():
        all_losses = F.cross_entropy(cls_logits, labels_of_rows, reduction="none").view_as(labels)
        rows = (pos_mask | hard_negative_mining(all_losses, labels, neg_pos_ratio)).flatten().nonzero().squeeze(1)
    pos_rows = pos_mask.flatten().nonzero().squeeze(1)
    cls_loss = F.cross_entropy(cls_logits.index_select(0, rows), labels_of_rows[rows], reduction="sum")
    bbox_pred, bbox_targets = (tensor.flatten(0, 1).index_select(0, pos_rows) for tensor in (bbox_pred, bbox_targets))
    return F.smooth_l1_loss(bbox_pred, bbox_targets, reduction="sum"), cls_loss


def hard_negative_mining(loss: Tensor, labels: Tensor, neg_pos_ratio: int) -> Tensor:
    """Choose the negatives that are most mistaken for objects (SSD, Sec. 2.2, "Hard negative mining").

    Args:
        loss: (B, P) classification loss, not negative; that of a negative is -log of its background probability.
        labels: (B, P) int64, 0 = background.
        neg_pos_ratio: negatives to choose per positive, in every image; all of them where there are fewer.
            Of equal losses the first are chosen.

    Returns:
        neg_mask: (B, P) bool.
    """
    pos_mask = labels > 0
    num_neg = neg_pos_ratio * num_positives(pos_mask)  # (B, 1)
    loss = loss.float().nan_to_num(nan=torch.inf, posinf=torch.inf).masked_fill(pos_mask, -1)  # a NaN is the hardest
    least = kth_largest(loss, num_neg)  # (B, 1)
    is_harder, is_equal = loss > least, loss == least
    num_left = num_neg - count(is_harder)
    return is_harder | (is_equal & (is_equal.cumsum(dim=1, dtype=torch.int32) <= num_left))


def kth_largest(values: Tensor, k: Tensor) -> Tensor:
    """The k-th largest of each row, found bit by bit: without sorting, and the same work whatever the data.

    Args:
        values: (B, P) float32; those below 0 do not count.
        k: (B, 1), from 1.

    Returns:
        (B, 1) float32; 0 where the row has fewer than k values from 0.
    """
    bits = torch.zeros_like(values[:, :1], dtype=torch.int32)  # those of floats from 0 sort like the floats
    is_as_large = torch.empty_like(values)  # 0 or 1: floats are compared and counted several times quicker in place
    for bit in range(30, -1, -1):
        larger = bits | (1 << bit)
        num_as_large = is_as_large.copy_(values).ge_(larger.view(torch.float32)).sum(dim=1, keepdim=True)
        bits = torch.where(num_as_large >= k, larger, bits)
    return bits.view(torch.float32)


def count(mask: Tensor) -> Tensor:
    """How many of each row (B, P) are true, (B, 1)."""
    return mask.sum(dim=1, keepdim=True, dtype=torch.int32)  # several times quicker on a CPU than to int64


def num_positives(pos_mask: Tensor) -> Tensor:
    """Positives of each image (B, 1), at least one: see MultiBoxLoss on images without objects."""
    return count(pos_mask).clamp(min=1)
