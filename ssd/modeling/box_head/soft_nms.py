"""Soft-NMS: overlapping boxes lose score instead of being dropped (Bodla et al., ICCV 2017, arXiv:1704.04503).

P priors, C classes with background, N candidates and D detections of one image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ssd.modeling.box_head.post_processor import FIRST_CANDIDATES, PostProcessor
from ssd.structures import Container
from ssd.structures.boxes import best_candidates, pairwise_iou

_FAR = 1e6  # pixels, as in class_wise_nms


@dataclass(frozen=True)
class SoftPostProcessor(PostProcessor):
    """PostProcessor with Soft-NMS, which reads neither ``nms_threshold`` nor the limits per class; image by image."""

    sigma: float = 0.5  # of the Gaussian of the IoU that scores are multiplied by, above 0

    @torch.no_grad()
    def __call__(self, scores: Tensor, boxes: Tensor) -> list[Container]:
        """See PostProcessor; scores are those after Soft-NMS."""
        return [self._detect_in_image(*image) for image in zip(scores, self.to_pixels(boxes), strict=True)]

    def _detect_in_image(self, scores: Tensor, boxes: Tensor) -> Container:
        """Detect by the best candidates of scores (P, C - 1); where others could matter, by four times as many."""
        num_candidates = FIRST_CANDIDATES
        while True:
            best, priors, labels = (column[0] for column in best_candidates(scores[None], num_candidates))  # (N,)
            limit = len(best) if self.max_per_image < 0 else self.max_per_image
            rivals = torch.zeros_like(labels) if self.class_agnostic else labels
            kept, kept_scores = soft_nms(boxes[priors], rivals, best, self.sigma, self.score_threshold, limit)  # (D,)
            has_all = len(best) == scores.numel() or bool(best[-1] <= self.score_threshold)
            # Other candidates score at most as the last one, so they come after detections that score more.
            if has_all or (0 <= self.max_per_image <= len(kept) and bool((kept_scores >= best[-1]).all())):
                break
            num_candidates *= 4
        found = Container(boxes=boxes[priors[kept]], labels=labels[kept], scores=kept_scores)
        found.img_height, found.img_width = self.image_size
        return found


def soft_nms(
    boxes: Tensor, labels: Tensor, scores: Tensor, sigma: float, score_threshold: float, max_detections: int
) -> tuple[Tensor, Tensor]:
    """Take the best box again and again, and multiply the scores of those of its class by exp(-IoU^2 / sigma) (eq. 3).

    For boxes (N, 4), corner form, return the indices (D,) of those that score above the threshold, and their scores
    (D,), which descend.
    """
    boxes = boxes.clamp(-_FAR, _FAR).nan_to_num()
    left, taken = scores.nan_to_num(nan=-torch.inf), torch.zeros_like(scores)
    order: list[int] = []
    while len(order) < min(max_detections, len(boxes)):
        best = int(left.argmax())
        if not left[best] > score_threshold:
            break
        order.append(best)
        taken[best] = left[best]
        iou = pairwise_iou(boxes[best : best + 1], boxes)[0].nan_to_num()  # of two empty boxes
        left = torch.where(labels == labels[best], left * torch.exp(-iou.square() / sigma), left)
        left[best] = -torch.inf
    index = torch.tensor(order, dtype=torch.int64, device=boxes.device)
    return index, taken[index]
