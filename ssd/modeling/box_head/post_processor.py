"""From scores to detections: threshold and class-wise non-maximum suppression (SSD, Sec. 2.2), best first.

B images, P priors, C classes with background, K candidates of each image: its best (prior, class) pairs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ssd.structures import Container
from ssd.structures.boxes import best_candidates, class_wise_nms, clip_boxes, rank_in_class

# Candidates of an image that NMS looks at first. Greedy NMS decides on a box by better ones alone, so if these yield
# ``max_per_image`` detections, more candidates could not change them.
FIRST_CANDIDATES = 256
# Candidates of all images in one NMS on a CPU, where its work grows with their square.
CPU_CANDIDATES = 2**11


@dataclass(frozen=True)
class PostProcessor:
    """Turn scores and boxes into detections. A limit of -1 stands for no limit."""

    image_size: tuple[int, int]  # (height, width) of the network input in pixels
    score_threshold: float  # candidates must score above it
    nms_threshold: float  # the lower-scored of two boxes of a class is dropped if their IoU exceeds it
    pre_nms_top_k: int = -1  # candidates of a class in an image that enter NMS
    max_per_class: int = -1  # detections of a class in an image
    max_per_image: int = 100
    clip: bool = False  # whether boxes are clipped to the image
    class_agnostic: bool = False  # whether a box also drops those of other classes

    @torch.no_grad()
    def __call__(self, scores: Tensor, boxes: Tensor) -> list[Container]:
        """Detect in a batch of scores (B, P, C - 1) and boxes (B, P, 4), corner form relative to the image.

        Returns:
            One Container for each image, on the CPU: ``boxes`` (N, 4) corner form in pixels of the network input,
            ``labels`` (N,) int64 from 1, ``scores`` (N,) descending; img_width and img_height are those of the network
            input.
        """
        return self._detect(scores, self.to_pixels(boxes), FIRST_CANDIDATES)

    def to_pixels(self, boxes: Tensor) -> Tensor:
        """Scale relative boxes (..., 4), corner form, to pixels of the network input, and clip them if asked to."""
        height, width = self.image_size
        boxes = torch.stack([boxes[..., 0::2] * width, boxes[..., 1::2] * height], dim=-1).flatten(-2)
        return clip_boxes(boxes, width, height) if self.clip else boxes

    def _detect(self, scores: Tensor, boxes: Tensor, num_candidates: int) -> list[Container]:
        """Detect by the best candidates of each image; where they yield too little, by four times as many."""
        images_at_once = max(1, CPU_CANDIDATES // num_candidates) if boxes.device.type == "cpu" else len(boxes)
        if len(boxes) > images_at_once:
            parts = zip(scores.split(images_at_once), boxes.split(images_at_once), strict=True)
            return [detections for part in parts for detections in self._detect(*part, num_candidates)]
        best_scores, priors, labels = best_candidates(scores, num_candidates)  # (B, K)
        candidate_boxes = boxes.gather(1, priors[..., None].expand(-1, -1, 4))  # (B, K, 4)
        is_kept = self.suppress(best_scores, candidate_boxes, labels)
        on_device = is_kept, candidate_boxes, labels, best_scores
        is_kept, candidate_boxes, labels, best_scores = (column.cpu() for column in on_device)  # the host knows K
        counts = is_kept.sum(dim=1)
        is_enough = (best_scores[:, -1:] <= self.score_threshold).any(dim=1)
        is_enough |= best_scores.shape[1] == scores.shape[1] * scores.shape[2]
        if self.max_per_image >= 0:
            is_enough |= counts >= self.max_per_image
        columns = {"boxes": candidate_boxes[is_kept], "labels": labels[is_kept], "scores": best_scores[is_kept]}
        fields = zip(*(column.split(counts.tolist()) for column in columns.values()), strict=True)
        detections = [Container(**dict(zip(columns, values, strict=True))) for values in fields]
        for found in detections:
            found.img_height, found.img_width = self.image_size
        rest = [image for image, enough in enumerate(is_enough.tolist()) if not enough]
        if rest:
            again = self._detect(scores[rest], boxes[rest], 4 * num_candidates)
            for image, found in zip(rest, again, strict=True):
                detections[image] = found
        return detections

    def suppress(self, scores: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Return which candidates are detections, (B, K) bool, by threshold, NMS and limits; scores descend."""
        row, column = (scores > self.score_threshold).nonzero().unbind(1)  # (N,)
        group = row * (labels.amax() + 1) + labels[row, column] if len(row) else row  # one for each (image, class)
        if self.pre_nms_top_k >= 0:
            enters = rank_in_class(group) < self.pre_nms_top_k  # the candidates of an image descend
            row, column, group = row[enters], column[enters], group[enters]
        rivals = row if self.class_agnostic else group
        keep = class_wise_nms(boxes[row, column], rivals, scores[row, column], self.nms_threshold)
        if self.max_per_class >= 0:
            keep = keep[rank_in_class(group[keep]) < self.max_per_class]
        is_kept = torch.zeros_like(labels, dtype=torch.bool)
        is_kept[row[keep], column[keep]] = True
        return is_kept if self.max_per_image < 0 else is_kept & (is_kept.cumsum(dim=1) <= self.max_per_image)
