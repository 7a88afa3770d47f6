"""Soft-NMS by hand and against a plain loop over all candidates; NMS over all classes."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from ssd.modeling.box_head import PostProcessor, SoftPostProcessor
from ssd.modeling.box_head.soft_nms import soft_nms
from tests.tiny import tiny_detector

# IoU with the first: 1, 0.6, 0 and 1.
BOXES = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0.6, 1], [2, 2, 3, 3], [0, 0, 1, 1]])


def test_scores_by_hand() -> None:
    labels, scores = torch.tensor([1, 1, 1, 2]), torch.tensor([0.9, 0.8, 0.5, 0.3])
    index, kept = soft_nms(BOXES, labels, scores, 0.5, score_threshold=0.1, max_detections=10)
    assert index.tolist() == [0, 2, 1, 3]
    assert kept.tolist() == pytest.approx([0.9, 0.5, 0.8 * math.exp(-(0.6**2) / 0.5), 0.3])
    index, _ = soft_nms(BOXES, labels, scores, 0.5, score_threshold=0.3, max_detections=10)
    assert index.tolist() == [0, 2, 1]
    index, _ = soft_nms(BOXES, labels, scores, 0.5, score_threshold=0.1, max_detections=2)
    assert index.tolist() == [0, 2]
    scores[1] = math.nan
    assert soft_nms(BOXES, labels, scores, 0.5, score_threshold=0.1, max_detections=10)[0].tolist() == [0, 2, 3]
    assert len(soft_nms(BOXES[:0], labels[:0], scores[:0], 0.5, score_threshold=0.1, max_detections=10)[0]) == 0


def plain(scores: Tensor, boxes: Tensor, limit: int) -> list[tuple[float, int]]:
    """Detections (score, label) of scores (P, C - 1) and boxes (P, 4), one class at a time over every prior."""
    found = []
    for label, column in enumerate(scores.double().unbind(1), start=1):
        left = column.clone()
        while left.max() > 0.05:
            best = int(left.argmax())
            found.append((left[best].item(), label))
            left = left * torch.exp(-(box_iou(boxes[best : best + 1], boxes)[0].double() ** 2) / 0.5)
            left[best] = 0
    return sorted(found, reverse=True)[:limit]


@pytest.mark.parametrize("limit", [5, 40, 10**6])
def test_equals_a_loop_over_all_candidates(limit: int) -> None:
    """Most of 400 priors with two classes are more than the candidates that are looked at first."""
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(2, 400, 2, generator=generator) * 0.4
    boxes = torch.cat([low, low + 0.3], dim=2)
    scores = torch.rand(2, 400, 2, generator=generator)
    processor = SoftPostProcessor((1, 1), score_threshold=0.05, nms_threshold=0.0, max_per_image=limit)
    for found, image_scores, image_boxes in zip(processor(scores, boxes), scores, boxes, strict=True):
        expected = plain(image_scores, image_boxes, limit)
        assert len(found["scores"]) == len(expected) == min(limit, len(expected))
        assert found["scores"].tolist() == pytest.approx([score for score, _ in expected], rel=1e-4)
        assert found["labels"].tolist() == [label for _, label in expected]
        assert (found.img_width, found.img_height) == (1, 1)


@pytest.mark.parametrize("soft", [False, True])
def test_all_classes_compete(soft: bool) -> None:
    """The third of two classes at one place is gone, or has lost exp(-1 / 0.5)."""
    scores = torch.tensor([[[0.9, 0.1], [0.1, 0.1], [0.1, 0.8], [0.1, 0.7]]])
    options = {"score_threshold": 0.2, "nms_threshold": 0.5, "class_agnostic": True}
    processor = SoftPostProcessor((1, 1), **options) if soft else PostProcessor((1, 1), **options)
    (found,) = processor(scores, BOXES[None])
    assert found["labels"].tolist() == [1, 2]
    assert found["scores"].tolist() == pytest.approx([0.9, 0.8])
    (found,) = type(processor)((1, 1), **{**options, "class_agnostic": False})(scores, BOXES[None])
    assert found["labels"].tolist() == [1, 2, 2]


def test_the_config_chooses() -> None:
    made = [tiny_detector("TEST.CLASS_AGNOSTIC_NMS", True, "TEST.SOFT_NMS", sigma) for sigma in (0.0, 0.25)]
    hard, soft = (model.box_head.post_processor for model in made)
    assert (type(hard), type(soft)) == (PostProcessor, SoftPostProcessor)
    assert (hard.class_agnostic, soft.class_agnostic, soft.sigma) == (True, True, 0.25)
