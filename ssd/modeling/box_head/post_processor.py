"""From predictions to detections: decode, threshold, class-wise non-maximum suppression, best first (SSD, Sec. 2.2).

B images, P priors, C classes with background, N candidates: (prior, class) pairs that score above the threshold.
"""

import sys

import torch
from torch import Tensor
from yacs.config import CfgNode

from ssd.modeling.anchors import decode_boxes
from ssd.structures import Container
from ssd.structures.boxes import center_to_corner, clip_boxes
from ssd.structures.ops import nms
from ssd.structures.size import height_width

# Candidates, best first, that NMS looks at before it takes more. Greedy NMS decides on a box by the better ones alone,
# so when these yield MAX_PER_IMAGE detections, more candidates could not change them.
_FIRST_CANDIDATES = 1000


class PostProcessor:
    """Turns predictions into detections.

    Args:
        cfg: reads INPUT.IMAGE_SIZE, the variances and TEST.
    """

    def __init__(self, cfg: CfgNode):
        self.height, self.width = height_width(cfg.INPUT.IMAGE_SIZE)
        self.center_variance = cfg.MODEL.CENTER_VARIANCE
        self.size_variance = cfg.MODEL.SIZE_VARIANCE
        self.score_threshold = cfg.TEST.CONFIDENCE_THRESHOLD
        self.nms_threshold = cfg.TEST.NMS_THRESHOLD
        self.max_per_class = cfg.TEST.MAX_PER_CLASS
        self.max_per_image = cfg.TEST.MAX_PER_IMAGE if cfg.TEST.MAX_PER_IMAGE >= 0 else sys.maxsize
        self.clip = cfg.TEST.CLIP_BOXES

    @torch.no_grad()
    def __call__(self, cls_logits: Tensor, bbox_pred: Tensor, priors: Tensor) -> list[Container]:
        """Detect in every image of a batch.

        Args:
            cls_logits: (B, P, C).
            bbox_pred: (B, P, 4) offsets.
            priors: (P, 4) centre form relative to the image.

        Returns:
            One Container an image: ``boxes`` (N, 4) corner form in pixels of the network input, ``labels`` (N,) int64
            from 1, ``scores`` (N,) descending; img_width and img_height are those of the network input.
        """
        scores = cls_logits.softmax(dim=2)
        boxes = center_to_corner(decode_boxes(bbox_pred, priors, self.center_variance, self.size_variance))
        boxes = boxes * boxes.new_tensor([self.width, self.height, self.width, self.height])
        return [self._detect(*image) for image in zip(scores, boxes, strict=True)]

    def _detect(self, scores: Tensor, boxes: Tensor) -> Container:
        """Detect in one image: scores (P, C), boxes (P, 4)."""
        num_classes = scores.shape[1] - 1
        scores = scores[:, 1:].flatten()  # (P * (C - 1),) without background
        candidates = (scores > self.score_threshold).nonzero().squeeze(1)  # (N,)
        order = scores[candidates].argsort(descending=True, stable=True)
        candidates = candidates[order]
        keep = self._suppress(boxes[candidates // num_classes], candidates % num_classes, scores[candidates])
        kept = candidates[keep]
        kept_boxes = boxes[kept // num_classes]
        if self.clip:
            kept_boxes = clip_boxes(kept_boxes, self.width, self.height)
        detections = Container(boxes=kept_boxes, labels=kept % num_classes + 1, scores=scores[kept])
        detections.img_width, detections.img_height = self.width, self.height
        return detections

    def _suppress(self, boxes: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
        """Indices of the detections among candidates that are sorted by descending score."""
        num_candidates = _FIRST_CANDIDATES
        while True:
            head = slice(num_candidates)
            keep = class_wise_nms(boxes[head], labels[head], scores[head], self.nms_threshold)
            if self.max_per_class >= 0:
                keep = keep[rank_in_class(labels[keep]) < self.max_per_class]
            if len(keep) >= self.max_per_image or num_candidates >= len(scores):
                return keep[: self.max_per_image]
            num_candidates *= 4


def class_wise_nms(boxes: Tensor, labels: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy NMS within each class; boxes of different classes never meet.

    Every class is moved to a place of its own on the plane and one NMS serves them all. The move is done in float64,
    where the shift of any sane box does not round, and is wider than the span of all boxes: no two classes can touch.

    Args:
        boxes: (N, 4) corner form, float32.
        labels: (N,) int64.
        scores: (N,).
        iou_threshold: the lower-scored of two boxes is dropped when their IoU exceeds this.

    Returns:
        Indices (M,) of the boxes that stay, by descending score.
    """
    if len(boxes) == 0:
        return labels
    if boxes.device.type == "mps":  # has no float64
        return class_wise_nms(boxes.cpu(), labels.cpu(), scores.cpu(), iou_threshold).to(boxes.device)
    boxes = boxes.double()
    span = boxes.max() - boxes.min() + 1
    return nms(boxes + (labels * span)[:, None], scores.double(), iou_threshold)


def rank_in_class(labels: Tensor) -> Tensor:
    """How many earlier entries of ``labels`` (N,) have the same label: (N,)."""
    same = labels[:, None] == labels[None, :]
    return same.tril(diagonal=-1).sum(dim=1)
