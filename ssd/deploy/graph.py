"""The networks that are exported: predictions alone, or everything from pixels to detections.

B images, P priors, C classes with background, K detections at most an image.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssd.deploy.metadata import Metadata
from ssd.deploy.nms_op import DROPPED
from ssd.modeling.anchors import BoxCoder
from ssd.modeling.box_head.post_processor import class_scores
from ssd.modeling.detector import SSDDetector
from ssd.structures.boxes import center_to_corner, clip_boxes

# Pixels. As in PostProcessor, NMS looks for boxes no further.
_FAR = 1e6

# (boxes, scores, score_threshold, nms_threshold, max_per_class) -> scores, see ``ssd.deploy.nms_op.suppress``.
Suppress = Callable[[Tensor, Tensor, float, float, int], Tensor]


class RawDetector(nn.Module):
    """A detector without its post-processing."""

    def __init__(self, detector: SSDDetector):
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map normalised images (B, 3, S_h, S_w) to cls_logits (B, P, C) and bbox_pred (B, P, 4)."""
        cls_logits, bbox_pred = self.detector.predict(images)
        return cls_logits, bbox_pred


class CompleteDetector(nn.Module):
    """Images of any size in, detections out: what Predictor, normalisation and PostProcessor do, in tensors alone.

    Args:
        network: maps normalised images to cls_logits and bbox_pred.
        metadata: what it expects and how its detections are made.
        suppress: class-wise NMS.
    """

    mean: Tensor
    std: Tensor
    priors: Tensor  # (P, 4) centre form relative to the image
    scale: Tensor  # (4,) of boxes relative to the image to pixels of the network input

    def __init__(self, network: nn.Module, metadata: Metadata, suppress: Suppress):
        super().__init__()
        self.network = network
        self.suppress = suppress
        self.height, self.width = metadata.image_size
        self.box_coder = BoxCoder(metadata.center_variance, metadata.size_variance)
        self.thresholds = metadata.score_threshold, metadata.nms_threshold
        num_priors, num_classes = len(metadata.priors), len(metadata.class_names) - 1
        self.num_detections = _limit(metadata.max_per_image, num_priors * num_classes)
        self.pre_nms_top_k = _limit(metadata.pre_nms_top_k, num_priors)
        self.max_per_class = min(_limit(metadata.max_per_class, num_priors), self.num_detections)
        self.clip = metadata.clip_boxes
        self.register_buffer("mean", torch.tensor(metadata.pixel_mean)[:, None, None])
        self.register_buffer("std", torch.tensor(metadata.pixel_std)[:, None, None])
        self.register_buffer("priors", torch.tensor(metadata.priors))
        self.register_buffer("scale", torch.tensor([self.width, self.height] * 2, dtype=torch.float32))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Detect in a batch.

        Args:
            images: uint8 (B, H, W, 3) RGB.

        Returns:
            boxes: float32 (B, K, 4) corner form in pixels of ``images``; scores: float32 (B, K) descending; labels:
            int64 (B, K); counts: int64 (B,). Rows from the count of an image on are zero.
        """
        cls_logits, bbox_pred = self.network(self._normalize(images))
        scores = class_scores(cls_logits).transpose(1, 2)  # (B, C - 1, P)
        boxes = center_to_corner(self.box_coder.decode(bbox_pred, self.priors)) * self.scale  # (B, P, 4)
        if self.clip:
            boxes = clip_boxes(boxes, self.width, self.height)
        near = boxes.clamp(-_FAR, _FAR).nan_to_num()
        kept = self.suppress(near, self._candidates(scores), *self.thresholds, self.max_per_class)  # (B, C - 1, P)
        # Prior by prior, so that of equal scores the first is that of PostProcessor.
        best, candidates = kept.transpose(1, 2).flatten(1).topk(self.num_detections, dim=1)  # (B, K)
        prior = torch.div(candidates, scores.shape[1], rounding_mode="floor")
        found = best >= 0
        boxes = self._to_image(boxes.gather(1, prior[..., None].expand(-1, -1, 4)), images)
        labels = candidates - prior * scores.shape[1] + 1
        return (
            torch.where(found[..., None], boxes, 0.0),
            torch.where(found, best, 0.0),
            torch.where(found, labels, 0),
            found.sum(dim=1),
        )

    def _candidates(self, scores: Tensor) -> Tensor:
        """The scores (B, C - 1, P), and -1 in the place of those that do not go into NMS."""
        if self.pre_nms_top_k == scores.shape[2]:
            return scores
        best = scores.topk(self.pre_nms_top_k, dim=2)
        return torch.full_like(scores, DROPPED).scatter(2, best.indices, best.values)

    def _normalize(self, images: Tensor) -> Tensor:
        """Resize as cv2.resize does, up to its rounding; what has the right size already stays as it is."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32)
        pixels = F.interpolate(pixels, (self.height, self.width), mode="bilinear", align_corners=False)
        return ((pixels + 0.5).floor() - self.mean) / self.std

    def _to_image(self, boxes: Tensor, images: Tensor) -> Tensor:
        """Move boxes (B, K, 4) from the network input to the images."""
        x_scale, y_scale = images.shape[2] / self.width, images.shape[1] / self.height
        x1, y1, x2, y2 = boxes.unbind(dim=-1)
        return torch.stack([x1 * x_scale, y1 * y_scale, x2 * x_scale, y2 * y_scale], dim=-1)


def _limit(limit: int, largest: int) -> int:
    """A limit of which -1 means none, as one that is never reached."""
    return largest if limit < 0 else min(limit, largest)
