"""Which object each prior is trained to find (SSD, Sec. 2.2, "Matching strategy").

B images, P priors, G ground-truth boxes (padded to the largest count of the batch), K candidates of an object.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssd.structures.boxes import pairwise_iou

# Overlaps (objects times priors) held at once. On a CPU they should stay in its cache; elsewhere few launches count.
_CPU_OVERLAPS = 2**18
_DEVICE_OVERLAPS = 2**23


@torch.library.custom_op("ssd::match_priors", mutates_args=())
def match_priors(gt_boxes: Tensor, gt_labels: Tensor, priors: Tensor, iou_threshold: float) -> tuple[Tensor, Tensor]:
    """Match every prior of every image to its object or to background.

    A prior is matched to the object that it overlaps most, if their IoU reaches the threshold. Besides, every object
    gets one prior of its own, the best one that no better pair claims, so that none goes untrained. (lufficc/SSD lets
    the later object take a contested prior and leaves the other without.)

    An operator of its own: torch.compile calls it as it is, so that a new G compiles nothing again.

    Args:
        gt_boxes: (B, G, 4) corner form relative to the image; G may be 0.
        gt_labels: (B, G) int64, from 1; 0 marks padding.
        priors: (P, 4) corner form relative to the image.
        iou_threshold: least IoU of a match, above 0.

    Returns:
        labels: (B, P) int64, 0 = background.
        gt_index: (B, P) int64, the object nearest to each prior, also for background priors; 0 without objects.
    """
    if gt_labels.shape[1] == 0:  # a batch without objects: one row of padding keeps the shapes ordinary
        gt_boxes, gt_labels = F.pad(gt_boxes, (0, 0, 0, 1)), F.pad(gt_labels, (0, 1))
    best_iou, gt_index, own_prior = _overlaps(gt_boxes, gt_labels == 0, priors)
    # A last column takes the padding rows, which own no prior.
    (num_images, num_gts), num_priors = gt_labels.shape, len(priors)
    gt_numbers = torch.arange(num_gts, device=priors.device).expand(num_images, num_gts)
    gt_index = F.pad(gt_index, (0, 1)).scatter_(1, own_prior, gt_numbers)[:, :num_priors].contiguous()
    best_iou = F.pad(best_iou, (0, 1)).scatter_(1, own_prior, 2.0)[:, :num_priors]
    labels = gt_labels.gather(1, gt_index)  # (B, P)
    return labels.masked_fill_(best_iou < iou_threshold, 0), gt_index


@match_priors.register_fake
def _(gt_boxes: Tensor, gt_labels: Tensor, priors: Tensor, iou_threshold: float) -> tuple[Tensor, Tensor]:
    shape = len(gt_labels), len(priors)
    return gt_labels.new_empty(shape), gt_labels.new_empty(shape)


def _overlaps(gt_boxes: Tensor, is_padding: Tensor, priors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best IoU of each prior (B, P), with which object (B, P), and each object's own prior (B, G).

    A few images at a time, so that memory is bounded. G is at least 1.
    """
    gt_boxes = gt_boxes.masked_fill(is_padding[..., None], 0)  # overlaps nothing
    most = _CPU_OVERLAPS if priors.device.type == "cpu" else _DEVICE_OVERLAPS
    num_images = max(1, most // (gt_boxes.shape[1] * len(priors)))
    results = []
    for boxes, padding in zip(gt_boxes.split(num_images), is_padding.split(num_images), strict=True):
        iou = pairwise_iou(boxes, priors)  # (a few, G, P)
        own_prior = assign_own_priors(iou, padding)
        best_iou = iou.amax(dim=1)
        results.append((best_iou, _first_equal(iou, best_iou), own_prior))
    best_iou, gt_index, own_prior = (torch.cat(parts) for parts in zip(*results, strict=True))
    return best_iou, gt_index, own_prior


def _first_equal(iou: Tensor, best_iou: Tensor) -> Tensor:
    """The first object whose IoU (B, G, P) is the best (B, P); twice as quick as max(dim=1). Overwrites ``iou``."""
    num_gts = iou.shape[1]
    descending = torch.arange(num_gts, 0, -1, device=iou.device, dtype=iou.dtype)[:, None]
    first = iou.eq_(best_iou[:, None]).mul_(descending).amax(dim=1)
    return num_gts - first.clamp_(min=1).long()  # a NaN equals nothing


def assign_own_priors(iou: Tensor, is_padding: Tensor) -> Tensor:
    """Give every object a prior of its own: of all pairs the best first, each object and each prior once.

    Args:
        iou: (B, G, P), not negative.
        is_padding: (B, G) bool, rows that are no objects.

    Returns:
        Prior index (B, G) int64; P for padding, and for objects that are left when there are more than priors.
    """
    if iou.device.type != "cpu":  # to look for contests would wait for the device
        return _settle_contests(iou, is_padding)
    num_priors = iou.shape[2]
    own_prior = iou.max(dim=2).indices.masked_fill(is_padding, num_priors)
    ordered = own_prior.sort(dim=1).values
    is_contest = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] < num_priors)
    images = is_contest.any(dim=1).nonzero().squeeze(1)
    if len(images) > 0:
        own_prior[images] = _settle_contests(iou[images], is_padding[images])
    return own_prior


def _settle_contests(iou: Tensor, is_padding: Tensor) -> Tensor:
    """See assign_own_priors.

    Deferred acceptance (Gale and Shapley, 1962): every object claims the best prior that holds no better claim, at
    once, round by round. As both sides rank by IoU, what is left is what taking the best pair first would give. At
    least one more object has its final prior after each round, so G rounds do.
    """
    num_images, num_gts, num_priors = iou.shape
    candidates, claims = _candidates(iou)  # (B, G, K)
    claims = claims.masked_fill(is_padding[..., None], -1)
    # A last candidate that accepts all: for padding, and for objects whom every prior has turned down.
    candidates = F.pad(candidates, (0, 1), value=num_priors)
    claims = F.pad(claims, (0, 1), value=2**62)
    held = claims.new_zeros(num_images, num_priors + 1)
    own_prior = torch.full_like(is_padding, num_priors, dtype=torch.int64)
    for _ in range(num_gts):
        is_open = claims >= held.gather(1, candidates.flatten(1)).view_as(claims)
        first = is_open.to(torch.uint8).argmax(dim=2, keepdim=True)  # (B, G, 1)
        previous, own_prior = own_prior, candidates.gather(2, first).squeeze(2)
        held = held.scatter_reduce(1, own_prior, claims.gather(2, first).squeeze(2), "amax")
        if iou.device.type == "cpu" and torch.equal(own_prior, previous):
            break
    return own_prior


def _candidates(iou: Tensor) -> tuple[Tensor, Tensor]:
    """The best priors of each object and the strength of its claims to them, (B, G, K) each, best first.

    An object loses at most G - 1 priors to others, so G are enough. Of equal priors, and of equal objects, the first
    counts. Integers without ties say so, as topk sorts ties anyhow; the bits of floats from 0 sort like the floats.
    """
    _, num_gts, num_priors = iou.shape
    bits = iou.contiguous().view(torch.int32)
    rank = bits.long() * num_priors + torch.arange(num_priors - 1, -1, -1, device=iou.device)
    candidates = rank.topk(min(num_gts, num_priors), dim=2).indices
    gt_rank = torch.arange(num_gts - 1, -1, -1, device=iou.device)[:, None]
    return candidates, bits.gather(2, candidates).long() * num_gts + gt_rank
