"""Matching: the object that each prior is trained to find (SSD, Sec. 2.2, "Matching strategy").

B images, P priors, G ground-truth boxes (padded to the largest number in the batch).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssd.modeling.anchors.box_coder import BoxCoder
from ssd.structures import Container
from ssd.structures.boxes import center_to_corner, corner_to_center, pairwise_iou

MAX_IOUS = 2**25  # images times objects times priors that are held at once, to bound the memory


class Assignment(NamedTuple):
    """Training targets of every prior."""

    labels: Tensor  # (B, P) int64, 0 = background, -1 = not in the loss
    bbox_targets: Tensor  # (B, P, 4) encoded offsets; zero where the label is not positive
    gt_index: Tensor  # (B, P) int64, the object that the prior overlaps most


@dataclass(frozen=True)
class IoUMatcher:
    """Match every prior to the object that it overlaps most, if their IoU reaches ``iou_threshold`` (above 0).

    Also, every object gets one prior of its own, whatever their IoU, so that it is trained; see ``assign_own_priors``.
    (lufficc/SSD gives a contested prior to the later object and leaves the other without.)
    """

    iou_threshold: float
    box_coder: BoxCoder
    ignore_threshold: float = 1.0  # other priors whose IoU reaches it are not in the loss

    @torch.no_grad()
    def __call__(self, targets: Container, priors: Tensor) -> Assignment:
        """Assign a class and a box to every prior (P, 4), centre form; see SSDBoxHead.losses on the targets."""
        gt_boxes, gt_labels = targets["boxes"], targets["labels"]
        thresholds = self.iou_threshold, self.ignore_threshold
        labels, gt_index = match_priors(gt_boxes, gt_labels, center_to_corner(priors), *thresholds)
        if gt_labels.shape[1] == 0:
            return Assignment(labels, priors.new_zeros(*labels.shape, 4), gt_index)
        matched = corner_to_center(gt_boxes).gather(1, gt_index[..., None].expand(-1, -1, 4))  # (B, P, 4)
        matched = torch.where((labels > 0)[..., None], matched, priors)  # a prior's offset from itself is zero
        return Assignment(labels, self.box_coder.encode(matched, priors), gt_index)


@torch.library.custom_op("ssd::match_priors", mutates_args=())  # torch.compile: another G compiles nothing again
def match_priors(
    gt_boxes: Tensor, gt_labels: Tensor, priors: Tensor, iou_threshold: float, ignore_threshold: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Match every prior of every image to its object or to background.

    Args:
        gt_boxes: (B, G, 4) corner form relative to the image; G may be 0.
        gt_labels: (B, G) int64, from 1; 0 = padding.
        priors: (P, 4) corner form relative to the image.
        iou_threshold: Lowest IoU of a match, above 0.
        ignore_threshold: Lowest IoU, above 0, of a prior that is ignored if it is not matched.

    Returns:
        labels (B, P) int64, 0 = background and -1 = ignored; and the object that each prior overlaps most (B, P) int64.
    """
    if gt_labels.shape[1] == 0:  # one row of padding keeps the shapes ordinary
        gt_boxes, gt_labels = F.pad(gt_boxes, (0, 0, 0, 1)), F.pad(gt_labels, (0, 1))
    is_padding = gt_labels == 0
    gt_boxes = gt_boxes.masked_fill(is_padding[..., None], 0)  # overlaps nothing
    num_images = max(1, MAX_IOUS // (gt_boxes.shape[1] * len(priors)))
    parts = zip(gt_boxes.split(num_images), is_padding.split(num_images), strict=True)
    best_iou, gt_index = map(torch.cat, zip(*(_best_objects(*part, priors) for part in parts), strict=True))
    labels = gt_labels.gather(1, gt_index)  # (B, P)
    return torch.where(best_iou < iou_threshold, -(best_iou >= ignore_threshold).long(), labels), gt_index


@match_priors.register_fake
def _(gt_boxes: Tensor, gt_labels: Tensor, priors: Tensor, *_: float) -> tuple[Tensor, Tensor]:
    shape = len(gt_labels), len(priors)
    return gt_labels.new_empty(shape), gt_labels.new_empty(shape)


def _best_objects(gt_boxes: Tensor, is_padding: Tensor, priors: Tensor) -> tuple[Tensor, Tensor]:
    """Return the highest IoU of each prior and its object, (B, P) each; an object's own prior counts as IoU 2."""
    iou = pairwise_iou(gt_boxes, priors)  # (B, G, P)
    best_iou, gt_index = iou.max(dim=1)  # (B, P)
    own_prior = assign_own_priors(iou, is_padding)
    # The last column takes the padding, which owns no prior.
    num_gts, num_priors = iou.shape[1:]
    gt_numbers = torch.arange(num_gts, device=iou.device).expand_as(own_prior)
    gt_index = F.pad(gt_index, (0, 1)).scatter_(1, own_prior, gt_numbers)[:, :num_priors]
    best_iou = F.pad(best_iou, (0, 1)).scatter_(1, own_prior, 2.0)[:, :num_priors]
    return best_iou, gt_index


def assign_own_priors(iou: Tensor, is_padding: Tensor) -> Tensor:
    """Give every object a prior of its own: of all pairs the best first, each object and each prior once.

    Returns:
        Prior index (B, G) for IoU (B, G, P); P for padding and for objects beyond the number of priors.
    """
    num_images, num_gts, num_priors = iou.shape
    images = torch.arange(num_images, device=iou.device)
    # Others take at most G - 1 of an object's priors, so its best G are enough. For ties, integers rank them: the bits
    # of floats from 0 sort like the floats.
    backwards = torch.arange(num_priors - 1, -1, -1, device=iou.device)
    rank = iou.float().contiguous().view(torch.int32).long() * num_priors + backwards
    candidates = rank.topk(min(num_gts, num_priors), dim=2).indices  # (B, G, K)
    best = iou.gather(2, candidates).masked_fill(is_padding[..., None], -1)
    own_prior = torch.full((num_images, num_gts), num_priors, device=iou.device)
    for _ in range(num_gts):
        best_iou, pair = best.flatten(1).max(dim=1)  # (B,)
        gt = pair // best.shape[2]
        prior = candidates.flatten(1).gather(1, pair[:, None])  # (B, 1)
        own_prior[images, gt] = torch.where(best_iou >= 0, prior[:, 0], own_prior[images, gt])
        best = best.masked_fill(candidates == prior[..., None], -1)
        best[images, gt] = -1
    return own_prior
