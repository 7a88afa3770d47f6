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
    """Pairs of a prior and a class that score above the threshold, the best first.

    Where MAX_PER_IMAGE detections are found among the best pairs, the others are left out, as in detection.
    """

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
    """Detect as the detector does, and keep the candidates that it examines.

    Args:
        post_processor: Post-processing of the detector.
        scores: (1, P, C - 1).
        boxes: (1, P, 4) corner form in pixels of the network input.
    """
    num_candidates, threshold = FIRST_CANDIDATES, post_processor.score_threshold
    while True:
        best, priors, labels = best_candidates(scores, num_candidates)  # (1, K) each
        is_kept = post_processor.suppress(best, boxes[:, priors[0]], labels)
        is_last = best.numel() == scores.numel() or float(best[0, -1]) <= threshold
        if is_last or 0 <= post_processor.max_per_image <= int(is_kept.sum()):
            break
        num_candidates *= 4
    is_above = best > threshold
    candidate_boxes = boxes[0, priors[is_above]].cpu()  # (N, 4)
    labels, is_kept = labels[is_above].cpu(), is_kept[is_above].cpu()
    return Candidates(
        num_above=int((scores > threshold).sum()),
        score_threshold=threshold,
        nms_threshold=post_processor.nms_threshold,
        priors=priors[is_above].cpu(),
        labels=labels,
        scores=best[is_above].cpu(),
        boxes=candidate_boxes,
        is_kept=is_kept,
        suppressors=_find_suppressors(
            candidate_boxes,
            torch.zeros_like(labels) if post_processor.class_agnostic else labels,
            is_kept,
            post_processor.nms_threshold,
        ),
    )


def _find_suppressors(boxes: Tensor, labels: Tensor, is_kept: Tensor, nms_threshold: float) -> Tensor:
    """Return ``Candidates.suppressors`` (N,)."""
    detections = is_kept.nonzero().squeeze(1)  # (D,)
    if len(detections) == 0:
        return torch.full_like(labels, -1)
    overlaps = pairwise_iou(boxes.double(), boxes[detections].double()) > nms_threshold  # (N, D)
    overlaps &= (labels[:, None] == labels[detections]) & ~is_kept[:, None]
    return torch.where(overlaps.any(dim=1), detections[overlaps.byte().argmax(dim=1)], -1)
