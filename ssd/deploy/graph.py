"""The networks that are exported: predictions at every prior, or everything from pixels to detections.

B images, P priors, C classes with background, K detections at most per image, N candidates of all images.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssd.deploy.metadata import Metadata
from ssd.modeling.anchors import BoxCoder
from ssd.modeling.box_head.box_predictor import class_scores
from ssd.modeling.detector import SSDDetector
from ssd.structures.boxes import center_to_corner, class_wise_nms, clip_boxes, nms, rank_in_class
from ssd.utils.errors import import_extra

_FAR = 1e6  # pixels; NMS looks for boxes no further, as in PostProcessor
_DROPPED = -1.0  # replaces scores, which are never negative

# (boxes, scores, score_threshold, nms_threshold, max_per_class) -> scores, see ``suppress``
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
    """The work of Predictor, normalisation and PostProcessor on images of any size, in tensors of fixed shapes."""

    mean: Tensor
    std: Tensor
    priors: Tensor  # (P, 4) centre form relative to the image
    scale: Tensor  # (4,), from relative boxes to pixels of the network input

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
        self.score_function = metadata.score_function
        self.register_buffer("mean", torch.tensor(metadata.pixel_mean)[:, None, None])
        self.register_buffer("std", torch.tensor(metadata.pixel_std)[:, None, None])
        self.register_buffer("priors", torch.tensor(metadata.priors))
        self.register_buffer("scale", torch.tensor([self.width, self.height] * 2, dtype=torch.float32))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Detect in a batch of RGB images, uint8 (B, H, W, 3).

        Returns:
            boxes: float32 (B, K, 4) corner form in pixels of ``images``; scores: float32 (B, K) descending; labels:
            int64 (B, K); counts: int64 (B,). Rows from the count of an image on are zero.
        """
        cls_logits, bbox_pred = self.network(self._normalize(images))
        scores = class_scores(cls_logits, self.score_function).transpose(1, 2)  # (B, C - 1, P)
        boxes = center_to_corner(self.box_coder.decode(bbox_pred, self.priors)) * self.scale  # (B, P, 4)
        if self.clip:
            boxes = clip_boxes(boxes, self.width, self.height)
        near = boxes.clamp(-_FAR, _FAR).nan_to_num()
        candidate_scores = scores if self.pre_nms_top_k == scores.shape[2] else _keep_best(scores, self.pre_nms_top_k)
        kept = self.suppress(near, candidate_scores, *self.thresholds, self.max_per_class)  # (B, C - 1, P)
        best, candidates = kept.transpose(1, 2).flatten(1).topk(self.num_detections, dim=1)  # (B, K)
        prior = torch.div(candidates, scores.shape[1], rounding_mode="floor")
        found = best >= 0
        boxes = self._to_image(boxes.gather(1, prior[..., None].expand(-1, -1, 4)), images)
        labels = candidates - prior * scores.shape[1] + 1
        outputs = (
            torch.where(found[..., None], boxes, 0.0),
            torch.where(found, best, 0.0),
            torch.where(found, labels, 0),
        )
        return *outputs, found.sum(dim=1)

    def _normalize(self, images: Tensor) -> Tensor:
        """Resize as cv2.resize does, up to its rounding, and normalise; images of the right size keep their pixels."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32)
        pixels = F.interpolate(pixels, (self.height, self.width), mode="bilinear", align_corners=False)
        return ((pixels + 0.5).floor() - self.mean) / self.std

    def _to_image(self, boxes: Tensor, images: Tensor) -> Tensor:
        """Scale boxes (B, K, 4) from the network input to the images."""
        x_scale, y_scale = images.shape[2] / self.width, images.shape[1] / self.height
        x1, y1, x2, y2 = boxes.unbind(dim=-1)
        return torch.stack([x1 * x_scale, y1 * y_scale, x2 * x_scale, y2 * y_scale], dim=-1)


def _limit(limit: int, largest: int) -> int:
    return largest if limit < 0 else min(limit, largest)


def _keep_best(scores: Tensor, number: int) -> Tensor:
    """Return scores (B, C - 1, P) with -1 in the place of all but the best of a class."""
    best = scores.topk(number, dim=2)
    return torch.full_like(scores, _DROPPED).scatter(2, best.indices, best.values)


@torch.library.custom_op("ssd::suppress", mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, score_threshold: float, nms_threshold: float, max_per_class: int) -> Tensor:
    """Apply class-wise NMS to each image; one operator, NonMaxSuppression in ONNX.

    Boxes are (B, P, 4) corner form, finite. Return the scores (B, C - 1, P), with -1 in the place of dropped ones.
    """
    kept = torch.full_like(scores, _DROPPED)
    for image_boxes, image_scores, image_kept in zip(boxes, scores, kept, strict=True):
        label, prior = (image_scores > score_threshold).nonzero().unbind(1)
        keep = class_wise_nms(image_boxes[prior], label, image_scores[label, prior], nms_threshold)
        keep = keep[rank_in_class(label[keep]) < max_per_class]
        label, prior = label[keep], prior[keep]
        image_kept[label, prior] = image_scores[label, prior]
    return kept


@suppress.register_fake
def _(boxes: Tensor, scores: Tensor, score_threshold: float, nms_threshold: float, max_per_class: int) -> Tensor:
    return torch.empty_like(scores)


def onnx_translations() -> dict[Any, Any]:
    """Return the ``custom_translation_table`` of torch.onnx.export for ``suppress``.

    NonMaxSuppression of ONNX Runtime agrees with torchvision: scores and IoU must exceed their thresholds, and of equal
    scores the first prior stays. It computes IoU in float32, so boxes whose IoU is within 1e-6 of the threshold may
    differ. OpenVINO also drops a box whose IoU equals the threshold.
    """
    op: Any = import_extra("onnxscript", "onnx").opset20

    def translate(boxes: Any, scores: Any, score_threshold: float, nms_threshold: float, max_per_class: int) -> Any:
        limits = (
            op.Constant(value_ints=[max_per_class]),
            op.Constant(value_floats=[nms_threshold]),
            op.Constant(value_floats=[score_threshold]),
        )
        kept = op.NonMaxSuppression(boxes, scores, *limits)  # (N, 3): image, class, prior
        dropped = op.Expand(op.Constant(value_float=_DROPPED), op.Shape(scores))
        return op.ScatterND(dropped, kept, op.GatherND(scores, kept))

    return {torch.ops.ssd.suppress.default: translate}


def suppress_best(
    boxes: Tensor,
    scores: Tensor,
    score_threshold: float,
    nms_threshold: float,
    max_per_class: int,
    *,
    num_candidates: int,
) -> Tensor:
    """Apply ``suppress`` to the best (class, prior) pairs of each image, in operators that torch.export can trace.

    As in ``class_wise_nms``, every class of every image is moved to a place of its own, so that one NMS serves all.
    """
    num_classes, num_priors = scores.shape[1:]
    best, pairs = scores.flatten(1).topk(min(num_candidates, num_classes * num_priors), dim=1)
    image, column = (best > score_threshold).nonzero().unbind(1)  # (N,)
    pair = pairs[image, column]
    # torchvision declares to torch.export that NMS keeps at least two boxes: add two, each in a place of its own.
    labels = torch.cat([image * num_classes + pair // num_priors + 2, torch.arange(2)])  # (N + 2,)
    candidates = torch.cat([boxes[image, pair % num_priors], boxes.new_zeros(2, 4)]).double()
    candidate_scores = torch.cat([best[image, column], best.new_zeros(2)]).double()
    span = candidates.amax() - candidates.amin() + 1
    keep = nms(candidates + (labels * span)[:, None], candidate_scores, nms_threshold)
    is_kept = torch.zeros_like(labels, dtype=torch.bool)
    is_kept[keep] = True
    kept = torch.full_like(scores, _DROPPED).flatten(1)
    kept = kept.index_put((image, pair), torch.where(is_kept[:-2], best[image, column], _DROPPED))
    return _keep_best(kept.view_as(scores), min(max_per_class, num_priors))
