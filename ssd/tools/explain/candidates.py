"""From predictions to detections, with what becomes of those that are dropped.

P priors, C classes with background, N candidates. An image is a batch of one.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ssd.modeling.box_head import PostProcessor
from ssd.modeling.box_head.post_processor import FIRST_CANDIDATES, best_candidates
from ssd.structures.boxes import pairwise_iou

# What became of a candidate.
KEPT = "detection"
SUPPRESSED = "suppressed by NMS"
NOT_AMONG_BEST = "beyond TEST.PRE_NMS_TOP_K"
BEYOND_LIMIT = "beyond TEST.MAX_PER_CLASS or MAX_PER_IMAGE"
FATES = (KEPT, SUPPRESSED, NOT_AMONG_BEST, BEYOND_LIMIT)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs of a prior and a class that score above the threshold, best first.

    Where MAX_PER_IMAGE detections are found among the best, the others are left out: nobody needs to look at them.

    Attributes:
        num_above: pairs that score above the threshold, N or more.
        score_threshold: TEST.CONFIDENCE_THRESHOLD.
        nms_threshold: TEST.NMS_THRESHOLD.
        priors: (N,) int64.
        labels: (N,) int64, from 1.
        scores: (N,) descending.
        boxes: (N, 4) corner form in pixels of the network input.
        fates: (N,) int64, which of FATES.
        suppressors: (N,) int64, the candidate that suppressed this one; -1 for those that were not suppressed.
    """

    num_above: int
    score_threshold: float
    nms_threshold: float
    priors: Tensor
    labels: Tensor
    scores: Tensor
    boxes: Tensor
    fates: Tensor
    suppressors: Tensor

    @property
    def detections(self) -> Tensor:
        """(D,) int64, the candidates that are detections, best first."""
        return (self.fates == FATES.index(KEPT)).nonzero().squeeze(1)

    def count(self, fate: str) -> int:
        """Return how many have this fate."""
        return int((self.fates == FATES.index(fate)).sum())

    def of_class(self, label: int) -> Tensor:
        """Return the candidates (M,) of a class, best first."""
        return (self.labels == label).nonzero().squeeze(1)


@torch.no_grad()
def follow_candidates(post_processor: PostProcessor, scores: Tensor, boxes: Tensor) -> Candidates:
    """Detect as the detector does, and record the fate of every candidate.

    Args:
        post_processor: Post-processing of the detector.
        scores: (1, P, C - 1).
        boxes: (1, P, 4) corner form in pixels of the network input.
    """
    best_scores, priors, labels, is_kept = _look(post_processor, scores, boxes)  # (1, K)
    candidate_boxes = boxes[:, priors[0]]
    survives = _without_limits(post_processor).suppress(best_scores, candidate_boxes, labels)
    enters = _without_nms(post_processor).suppress(best_scores, candidate_boxes, labels)
    fates = torch.full_like(labels, FATES.index(NOT_AMONG_BEST))
    fates[enters] = FATES.index(SUPPRESSED)
    fates[survives] = FATES.index(BEYOND_LIMIT)
    fates[is_kept] = FATES.index(KEPT)

    is_above = best_scores > post_processor.score_threshold
    candidate_boxes, labels, fates = candidate_boxes[is_above], labels[is_above], fates[is_above]
    return Candidates(
        num_above=int((scores > post_processor.score_threshold).sum()),
        score_threshold=post_processor.score_threshold,
        nms_threshold=post_processor.nms_threshold,
        priors=priors[is_above].cpu(),
        labels=labels.cpu(),
        scores=best_scores[is_above].cpu(),
        boxes=candidate_boxes.cpu(),
        fates=fates.cpu(),
        suppressors=_suppressors(candidate_boxes, labels, fates, post_processor.nms_threshold).cpu(),
    )


def _look(post_processor: PostProcessor, scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return scores, priors, labels and is_kept, (1, K) each, of the candidates that PostProcessor examines."""
    num_candidates = FIRST_CANDIDATES
    while True:
        best_scores, priors, labels = best_candidates(scores, num_candidates)
        is_kept = post_processor.suppress(best_scores, boxes[:, priors[0]], labels)
        is_last = best_scores.numel() == scores.numel() or float(best_scores[0, -1]) <= post_processor.score_threshold
        if is_last or int(is_kept.sum()) >= post_processor.max_per_image:
            return best_scores, priors, labels, is_kept
        num_candidates *= 4


def _without_limits(post_processor: PostProcessor) -> PostProcessor:
    return replace(post_processor, max_per_class=-1, max_per_image=-1)


def _without_nms(post_processor: PostProcessor) -> PostProcessor:
    return replace(_without_limits(post_processor), nms_threshold=math.inf)


def _suppressors(boxes: Tensor, labels: Tensor, fates: Tensor, nms_threshold: float) -> Tensor:
    """The candidate that suppressed each (N,): the best survivor of its class that overlaps it too much; else -1."""
    suppressors = torch.full_like(labels, -1)
    survives = (fates == FATES.index(KEPT)) | (fates == FATES.index(BEYOND_LIMIT))
    for label in labels.unique():
        own = labels == label
        survivors = (survives & own).nonzero().squeeze(1)
        dropped = (own & (fates == FATES.index(SUPPRESSED))).nonzero().squeeze(1)
        if len(dropped) == 0:
            continue
        iou = pairwise_iou(boxes[dropped].double(), boxes[survivors].double())  # (M, S)
        overlaps = (iou > nms_threshold) | (iou == iou.amax(dim=1, keepdim=True))  # NMS may have rounded otherwise
        suppressors[dropped] = survivors[overlaps.to(torch.uint8).argmax(dim=1)]
    return suppressors
