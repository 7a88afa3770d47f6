"""From predictions to detections, with what becomes of those that are dropped.

P priors, C classes with background, N candidates. An image is a batch of one.
"""

import copy
import math
import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from ssd.modeling.box_head import PostProcessor
from ssd.modeling.box_head.post_processor import Predictions, best_candidates
from ssd.structures.boxes import pairwise_iou

# What became of a candidate.
KEPT = "detection"
SUPPRESSED = "suppressed by NMS"
NOT_AMONG_BEST = "beyond TEST.PRE_NMS_TOP_K"
BEYOND_LIMIT = "beyond TEST.MAX_PER_CLASS or MAX_PER_IMAGE"
FATES = (KEPT, SUPPRESSED, NOT_AMONG_BEST, BEYOND_LIMIT)

_FIRST_CANDIDATES = 256


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
def follow_candidates(post_process: PostProcessor, predictions: Predictions) -> Candidates:
    """Detect as the detector does, and note what becomes of every candidate.

    Args:
        post_process: of the detector.
        predictions: of one image.
    """
    scores, candidates, is_kept = _look(post_process, predictions)  # (1, K)
    images = torch.zeros(1, dtype=torch.int64, device=scores.device)
    arguments = predictions, images, scores, candidates
    survives = _without_limits(post_process).suppress(*arguments)
    goes_in = _without_nms(post_process).suppress(*arguments)
    fates = torch.full_like(candidates, FATES.index(NOT_AMONG_BEST))
    fates[goes_in] = FATES.index(SUPPRESSED)
    fates[survives] = FATES.index(BEYOND_LIMIT)
    fates[is_kept] = FATES.index(KEPT)

    is_above = scores[0] > post_process.score_threshold
    num_classes = predictions.scores.shape[2]
    priors, labels = (candidates[0] // num_classes)[is_above], (candidates[0] % num_classes)[is_above] + 1
    boxes, fates = predictions.boxes[0, priors], fates[0, is_above]
    return Candidates(
        num_above=int((predictions.scores > post_process.score_threshold).sum()),
        score_threshold=post_process.score_threshold,
        nms_threshold=post_process.nms_threshold,
        priors=priors.cpu(),
        labels=labels.cpu(),
        scores=scores[0, is_above].cpu(),
        boxes=boxes.cpu(),
        fates=fates.cpu(),
        suppressors=_suppressors(boxes, labels, fates, post_process.nms_threshold).cpu(),
    )


def _look(post_process: PostProcessor, predictions: Predictions) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, candidates and which are detections, (1, K) each: of as many as PostProcessor looks at."""
    images = torch.zeros(1, dtype=torch.int64, device=predictions.boxes.device)
    num_candidates, num_pairs = _FIRST_CANDIDATES, predictions.scores[0].numel()
    while True:
        scores, candidates = best_candidates(predictions, images, num_candidates)
        is_kept = post_process.suppress(predictions, images, scores, candidates)
        is_last = scores.shape[1] == num_pairs or float(scores[0, -1]) <= post_process.score_threshold
        if is_last or int(is_kept.sum()) >= post_process.max_per_image:
            return scores, candidates, is_kept
        num_candidates *= 4


def _without_limits(post_process: PostProcessor) -> PostProcessor:
    unlimited = copy.copy(post_process)
    unlimited.max_per_class, unlimited.max_per_image = -1, sys.maxsize
    return unlimited


def _without_nms(post_process: PostProcessor) -> PostProcessor:
    all_survive = _without_limits(post_process)
    all_survive.nms_threshold = math.inf
    return all_survive


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
