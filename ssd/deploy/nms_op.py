"""Class-wise NMS for exported graphs: as one ONNX operator, or of torchvision's.

B images, P priors, C classes with background, N candidates of all images.
"""

from typing import Any

import torch
from torch import Tensor

from ssd.structures.boxes import class_wise_nms, nms, rank_in_class
from ssd.utils.errors import import_extra

DROPPED = -1.0  # in the place of a score; no score is below 0


@torch.library.custom_op("ssd::suppress", mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, score_threshold: float, nms_threshold: float, max_per_class: int) -> Tensor:
    """Keep the scores of what class-wise NMS lets stand in each image: NonMaxSuppression in ONNX.

    Args:
        boxes: (B, P, 4) corner form, finite.
        scores: (B, C - 1, P).
        score_threshold: what does not score above it is dropped.
        nms_threshold: the lower-scored of two boxes of a class is dropped when their IoU exceeds this.
        max_per_class: detections of a class in an image.

    Returns:
        (B, C - 1, P): ``scores``, and -1 in the place of those that are dropped.
    """
    kept = torch.full_like(scores, DROPPED)
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
    """Build the ``custom_translation_table`` of torch.onnx.export; onnxscript must be installed.

    NonMaxSuppression of ONNX Runtime decides as torchvision does: scores and IoU must exceed their thresholds, and of
    equal scores the first prior stands. It computes IoU in float32, where two boxes whose IoU is within 1e-6 of the
    threshold may fare otherwise. OpenVINO's also drops a box whose IoU equals the threshold.
    """
    op: Any = import_extra("onnxscript", "onnx").opset20

    def translate(boxes: Any, scores: Any, score_threshold: float, nms_threshold: float, max_per_class: int) -> Any:
        limits = (
            op.Constant(value_ints=[max_per_class]),
            op.Constant(value_floats=[nms_threshold]),
            op.Constant(value_floats=[score_threshold]),
        )
        kept = op.NonMaxSuppression(boxes, scores, *limits)  # (N, 3): image, class, prior
        dropped = op.Expand(op.Constant(value_float=DROPPED), op.Shape(scores))
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
    """Do as ``suppress`` in operators of torch and torchvision alone, which torch.export can trace.

    One NMS serves all images and classes, each moved to a place of its own, as in ``class_wise_nms``.

    Args:
        boxes: (B, P, 4) corner form, finite.
        scores: (B, C - 1, P).
        score_threshold: see ``suppress``.
        nms_threshold: likewise.
        max_per_class: likewise.
        num_candidates: of each image, only so many of the best (class, prior) pairs are looked at.

    Returns:
        (B, C - 1, P), see ``suppress``.
    """
    num_classes, num_priors = scores.shape[1:]
    best, pairs = scores.flatten(1).topk(min(num_candidates, num_classes * num_priors), dim=1)
    image, column = (best > score_threshold).nonzero().unbind(1)  # (N,)
    pair = pairs[image, column]
    # torchvision tells torch.export that NMS keeps two boxes at least. So there are always two more, each on its own.
    labels = torch.cat([image * num_classes + pair // num_priors + 2, torch.arange(2)])  # (N + 2,)
    candidates = torch.cat([boxes[image, pair % num_priors], boxes.new_zeros(2, 4)]).double()
    candidate_scores = torch.cat([best[image, column], best.new_zeros(2)]).double()
    span = candidates.amax() - candidates.amin() + 1
    keep = nms(candidates + (labels * span)[:, None], candidate_scores, nms_threshold)
    is_kept = torch.zeros_like(labels, dtype=torch.bool)
    is_kept[keep] = True
    dropped = torch.full_like(scores, DROPPED)
    kept = dropped.flatten(1)
    kept = kept.index_put((image, pair), torch.where(is_kept[:-2], best[image, column], DROPPED))
    best_of_class = kept.view_as(scores).topk(min(max_per_class, num_priors), dim=2)
    return dropped.scatter(2, best_of_class.indices, best_of_class.values)
