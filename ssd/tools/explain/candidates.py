"""Candidates of one image: the detections among them, and the detection that suppressed each of the others.

P priors, C classes with background, N candidates. An image is a batch of one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ssd.modeling.box_head import PostProcessor
from ssd.modeling.box_head.post_processor import FIRST_CANDIDATES
from ssd.structures.boxes import best_candidates, pairwise_iou


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs of a prior and a class above the threshold, the best first, as far as MAX_PER_IMAGE detections need."""

    num_above: int  # number of pairs above the threshold, N or more
    score_threshold: float  # TEST.CONFIDENCE_THRESHOLD
    nms_threshold: float  # TEST.NMS_THRESHOLD
    priors: Tensor  # (N,) int64
    labels: Tensor  # (N,) int64, from 1
    scores: Tensor  # (N,) descending
    boxes: Tensor  # (N, 4) corner form in pixels of the network input
    is_kept: Tensor  # (N,) bool, candidates that are detections
    # (N,) int64, the best detection of the class that overlaps a candidate by more than the NMS threshold; -1 for
    # detections, and for candidates that only a limit on the number of detections drops.
    suppressors: Tensor

    @property
    def detections(self) -> Tensor:
        """(D,) int64, the candidates that are detections, the best first."""
        return self.is_kept.nonzero().squeeze(1)

    def suppressed_by(self, candidate: int) -> Tensor:
        """Return the candidates that a detection suppressed, the best first."""
        return (self.suppressors == candidate).nonzero().squeeze(1)


@torch.no_grad()
def find_candidates(post_processor: PostProcessor, scores: Tensor, boxes: Tensor) -> Candidates:
    """Detect as the detector does, from scores (1, P, C - 1) and boxes (1, P, 4) in pixels of the network input."""
    num_candidates, threshold = FIRST_CANDIDATES, post_processor.score_threshold
    while True:
        best, priors, labels = best_candidates(scores, num_candidates)  # (1, K) each
        is_kept = post_processor.suppress(best, boxes[:, priors[0]], labels)
        is_last = best.numel() == scores.numel() or float(best[0, -1]) <= threshold
        if is_last or 0 <= post_processor.max_per_image <= int(is_kept.sum()):
            break
        num_candidates *= 4
    columns = (priors, labels, best, boxes[:, priors[0]], is_kept)
    priors, labels, best, found_boxes, is_kept = (column[best > threshold].cpu() for column in columns)  # (N, ...)
    nms_threshold, num_above = post_processor.nms_threshold, int((scores > threshold).sum())
    groups = torch.zeros_like(labels) if post_processor.class_agnostic else labels
    suppressors = _find_suppressors(found_boxes, groups, is_kept, nms_threshold)
    return Candidates(num_above, threshold, nms_threshold, priors, labels, best, found_boxes, is_kept, suppressors)


def _find_suppressors(boxes: Tensor, labels: Tensor, is_kept: Tensor, nms_threshold: float) -> Tensor:
    """Return ``Candidates.suppressors`` (N,)."""
    detections = is_kept.nonzero().squeeze(1)  # (D,)
    if len(detections) == 0:
        return torch.full_like(labels, -1)
    overlaps = pairwise_iou(boxes.double(), boxes[detections].double()) > nms_threshold  # (N, D)
    overlaps &= (labels[:, None] == labels[detections]) & ~is_kept[:, None]
    return torch.where(overlaps.any(dim=1), detections[overlaps.byte().argmax(dim=1)], -1)
