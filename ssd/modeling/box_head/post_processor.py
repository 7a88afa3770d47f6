"""From predictions to detections: decode, threshold, class-wise non-maximum suppression, best first (SSD, Sec. 2.2).

B images, P priors, C classes with background, K the best (prior, class) pairs of each image, N candidates: those that
score above the threshold.
"""

import sys
from typing import NamedTuple

import torch
from torch import Tensor
from yacs.config import CfgNode

from ssd.modeling.anchors import decode_boxes
from ssd.structures import Container
from ssd.structures.boxes import center_to_corner, clip_boxes
from ssd.structures.ops import nms
from ssd.structures.size import height_width

# Candidates an image, best first, that NMS looks at before it takes more. Greedy NMS decides on a box by the better
# ones alone, so when these yield MAX_PER_IMAGE detections, more candidates could not change them.
_FIRST_CANDIDATES = 256
# Candidates of all images that meet in one NMS, whose work grows with their square.
_CPU_CANDIDATES = 2**11
_DEVICE_CANDIDATES = 2**15
# Pixels. NMS looks for boxes no further, so that a network that diverges on one image does not move those of others.
_FAR = 1e6


class Predictions(NamedTuple):
    """What a batch may contain.

    Attributes:
        scores: (B, P, C - 1) float32, without background.
        best_scores: (B, P), the highest of each prior.
        boxes: (B, P, 4) corner form in pixels of the network input.
    """

    scores: Tensor
    best_scores: Tensor
    boxes: Tensor


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
        self.pre_nms_top_k = cfg.TEST.PRE_NMS_TOP_K
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
        predictions = self.decode(cls_logits, bbox_pred, priors)
        images = torch.arange(len(cls_logits), device=cls_logits.device)
        return self._detect(predictions, images, _FIRST_CANDIDATES)

    def decode(self, cls_logits: Tensor, bbox_pred: Tensor, priors: Tensor) -> Predictions:
        """Turn logits into scores, and offsets into boxes; the arguments are those of a call."""
        scores = cls_logits.float().softmax(dim=2)[..., 1:]  # (B, P, C - 1), without background
        boxes = center_to_corner(decode_boxes(bbox_pred.float(), priors, self.center_variance, self.size_variance))
        boxes = boxes * boxes.new_tensor([self.width, self.height, self.width, self.height])
        if self.clip:
            boxes = clip_boxes(boxes, self.width, self.height)
        return Predictions(scores, scores.amax(dim=2), boxes)

    def _detect(self, predictions: Predictions, images: Tensor, num_candidates: int) -> list[Container]:
        """Detect in ``images`` (B,) by so many candidates each; where they yield too little, by four times as many."""
        candidates_at_once = _CPU_CANDIDATES if images.device.type == "cpu" else _DEVICE_CANDIDATES
        images_at_once = max(1, candidates_at_once // num_candidates)
        if len(images) > images_at_once:
            parts = images.split(images_at_once)
            return [detections for part in parts for detections in self._detect(predictions, part, num_candidates)]
        scores, candidates = best_candidates(predictions, images, num_candidates)  # (B, K)
        is_kept = self.suppress(predictions, images, scores, candidates)
        detections = self._gather(predictions, images, candidates, is_kept)

        _, num_priors, num_classes = predictions.scores.shape
        are_all = candidates.shape[1] == num_priors * num_classes
        is_enough = (is_kept.sum(dim=1) >= self.max_per_image) | (scores[:, -1] <= self.score_threshold) | are_all
        rest = (~is_enough).nonzero().squeeze(1)
        if len(rest) > 0:
            again = self._detect(predictions, images[rest], 4 * num_candidates)
            for index, image_detections in zip(rest.tolist(), again, strict=True):
                detections[index] = image_detections
        return detections

    def suppress(self, predictions: Predictions, images: Tensor, scores: Tensor, candidates: Tensor) -> Tensor:
        """Tell which candidates are detections, by threshold, NMS and limits.

        Args:
            predictions: of a batch.
            images: (B,) which of it.
            scores: (B, K) of the candidates, descending.
            candidates: (B, K) int64, see ``best_candidates``.

        Returns:
            is_kept: (B, K) bool.
        """
        num_classes = predictions.scores.shape[2]
        row, column = (scores > self.score_threshold).nonzero().unbind(1)  # (N,)
        labels = row * num_classes + candidates[row, column] % num_classes  # a class of two images is two classes
        if self.pre_nms_top_k >= 0:
            goes_in = rank_in_class(labels) < self.pre_nms_top_k  # the candidates of an image descend
            row, column, labels = row[goes_in], column[goes_in], labels[goes_in]
        candidate = candidates[row, column]
        boxes = predictions.boxes[images[row], candidate // num_classes]
        keep = class_wise_nms(boxes, labels, -column, self.nms_threshold)
        if self.max_per_class >= 0:
            keep = keep[rank_in_class(labels[keep]) < self.max_per_class]
        is_kept = torch.zeros_like(candidates, dtype=torch.bool)
        is_kept[row[keep], column[keep]] = True
        return is_kept & (is_kept.cumsum(dim=1) <= self.max_per_image)

    def _gather(self, predictions: Predictions, images: Tensor, candidates: Tensor, is_kept: Tensor) -> list[Container]:
        """The kept of the candidates (B, K) of ``images`` (B,), image by image."""
        num_classes = predictions.scores.shape[2]
        row, column = is_kept.nonzero().unbind(1)  # (N,) detections of all images
        image, candidate = images[row], candidates[row, column]
        prior, label = candidate // num_classes, candidate % num_classes
        boxes, scores = predictions.boxes[image, prior], predictions.scores[image, prior, label]
        counts = is_kept.sum(dim=1).tolist()
        detections = []
        for fields in zip(boxes.split(counts), (label + 1).split(counts), scores.split(counts), strict=True):
            found = Container(boxes=fields[0], labels=fields[1], scores=fields[2])
            found.img_width, found.img_height = self.width, self.height
            detections.append(found)
        return detections


def best_candidates(predictions: Predictions, images: Tensor, num_candidates: int) -> tuple[Tensor, Tensor]:
    """The best (prior, class) pairs of some images; of equal scores the first.

    The best priors come first, by their best class, then the best pairs of those: none of the best k pairs can belong
    to a prior that is not among the best k. Integers without ties say which is first, as topk sorts ties anyhow; the
    bits of floats from 0 sort like the floats.

    Args:
        predictions: of a batch.
        images: (B,) which of it.
        num_candidates: K, or more than there are.

    Returns:
        scores: (B, K) descending.
        candidates: (B, K) int64, prior * (C - 1) + class.
    """
    _, num_priors, num_classes = predictions.scores.shape
    num_pairs = num_priors * num_classes
    backwards = torch.arange(num_priors - 1, -1, -1, device=images.device)
    ranks = predictions.best_scores[images].view(torch.int32).long() * num_priors + backwards  # (B, P)
    priors = ranks.topk(min(num_candidates, num_priors), dim=1, sorted=False).indices  # (B, K)
    bits = predictions.scores[images[:, None], priors].view(torch.int32).long()  # (B, K, C - 1)
    last_pairs = num_pairs - 1 - priors * num_classes
    backwards = last_pairs[..., None] - torch.arange(num_classes, device=images.device)
    ranks = bits.mul_(num_pairs).add_(backwards).flatten(1)
    ranks = ranks.topk(min(num_candidates, ranks.shape[1]), dim=1).values
    return (ranks // num_pairs).int().view(torch.float32), num_pairs - 1 - ranks % num_pairs


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
    boxes = boxes.double().clamp(-_FAR, _FAR).nan_to_num()
    span = boxes.max() - boxes.min() + 1
    return nms(boxes + (labels * span)[:, None], scores.double(), iou_threshold)


def rank_in_class(labels: Tensor) -> Tensor:
    """How many earlier entries of ``labels`` (N,) have the same label: (N,)."""
    ordered, order = labels.sort(stable=True)
    position = torch.arange(len(labels), device=labels.device)
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    start = torch.where(is_first, position, 0).cummax(dim=0).values  # of each run of one label
    return torch.empty_like(position).scatter(0, order, position - start)
