"""Which object each prior is trained to find (SSD, Sec. 2.2, "Matching strategy").

B images, P priors, G ground-truth boxes (padded to the largest count of the batch).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssd.structures.ops import box_iou


def match_priors(gt_boxes: Tensor, gt_labels: Tensor, priors: Tensor, iou_threshold: float) -> tuple[Tensor, Tensor]:
    """Match every prior of every image to its object or to background.

    A prior is matched to the object that it overlaps most, if their IoU reaches the threshold. Besides, every object
    gets one prior of its own, the best one that no better pair claims, so that none goes untrained. (lufficc/SSD lets
    the later object take a contested prior and leaves the other without.)

    Args:
        gt_boxes: (B, G, 4) corner form relative to the image; G may be 0.
        gt_labels: (B, G) int64, from 1; 0 marks padding.
        priors: (P, 4) corner form relative to the image.
        iou_threshold: least IoU of a match.

    Returns:
        labels: (B, P) int64, 0 = background.
        gt_index: (B, P) int64, the object nearest to each prior, also for background priors; 0 without objects.
    """
    if gt_labels.shape[1] == 0:  # a batch without objects: one row of padding keeps the shapes ordinary
        gt_boxes, gt_labels = F.pad(gt_boxes, (0, 0, 0, 1)), F.pad(gt_labels, (0, 1))
    (num_images, num_gts), num_priors = gt_labels.shape, len(priors)
    iou = box_iou(gt_boxes.flatten(0, 1), priors).view(num_images, num_gts, num_priors)
    iou = iou.masked_fill((gt_labels == 0)[..., None], -1)

    best_iou, gt_index = iou.max(dim=1)  # (B, P)
    own_prior = assign_own_priors(iou)  # (B, G)
    # A last column takes the padding rows, which own no prior.
    gt_numbers = torch.arange(num_gts, device=iou.device).expand(num_images, num_gts)
    gt_index = F.pad(gt_index, (0, 1)).scatter(1, own_prior, gt_numbers)[:, :num_priors]
    best_iou = F.pad(best_iou, (0, 1)).scatter(1, own_prior, 2.0)[:, :num_priors]

    labels = gt_labels.gather(1, gt_index)  # (B, P)
    return labels.masked_fill(best_iou < iou_threshold, 0), gt_index


def assign_own_priors(iou: Tensor) -> Tensor:
    """Give every object a prior of its own: of all pairs the best first, each object and each prior once.

    Args:
        iou: (B, G, P); rows of -1 are padding.

    Returns:
        Prior index (B, G) int64; P for padding.
    """
    num_images, num_gts, num_priors = iou.shape
    # An object loses at most G - 1 priors to others, so its G best are enough. Of equal ones the first counts: topk
    # sorts ties anyhow, so it gets integers that have none. (The bits of floats that are not negative sort like them.)
    backwards = torch.arange(num_priors - 1, -1, -1, device=iou.device)
    rank = iou.contiguous().view(torch.int32).long() * num_priors + backwards
    candidates = rank.topk(min(num_gts, num_priors), dim=2).indices  # (B, G, K)
    candidate_iou = iou.gather(2, candidates)
    own_prior = torch.full((num_images, num_gts), num_priors, device=iou.device)
    gt_numbers = torch.arange(num_gts, device=iou.device)
    for _ in range(num_gts):
        best_of_gt, column = candidate_iou.max(dim=2)  # (B, G)
        best, gt = best_of_gt.max(dim=1, keepdim=True)  # (B, 1)
        prior = candidates.gather(2, column[..., None]).squeeze(2).gather(1, gt)  # (B, 1)
        is_gt = (gt_numbers == gt) & (best >= 0)  # (B, G); nothing is left where best is -1
        own_prior = torch.where(is_gt, prior, own_prior)
        is_taken = is_gt[..., None] | (candidates == prior[..., None])
        candidate_iou = candidate_iou.masked_fill(is_taken & (best >= 0)[..., None], -1)
    return own_prior
