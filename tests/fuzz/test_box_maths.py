"""Boxes: what holds for all of them, and suppression against the definition."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou

from ssd.data.datasets.policy import CLIPPED, check_boxes
from ssd.structures.boxes import center_to_corner, class_wise_nms, clip_boxes, corner_to_center, pairwise_iou

relaxed = settings(max_examples=100, deadline=None)
COORDINATES = st.floats(-1000, 1000, width=32)


def corner_form(rows: list[tuple[float, ...]]) -> Tensor:
    """Sound boxes from any four numbers each."""
    points = torch.tensor(rows, dtype=torch.float32).reshape(-1, 2, 2)
    return torch.cat([points.amin(dim=1), points.amax(dim=1)], dim=1)


BOXES = st.lists(st.tuples(*[COORDINATES] * 4), max_size=8).map(corner_form)
# Whole numbers: areas and overlaps are exact, so that both sides of a comparison see the same IoU.
WHOLE_BOXES = st.lists(st.tuples(*[st.integers(-20, 20)] * 4), min_size=1, max_size=12).map(corner_form)


@relaxed
@given(boxes=BOXES)
def test_forms_convert_both_ways(boxes: Tensor) -> None:
    torch.testing.assert_close(center_to_corner(corner_to_center(boxes)), boxes, rtol=1e-6, atol=1e-3)


@relaxed
@given(boxes=BOXES, width=st.floats(0, 900), height=st.floats(0, 900))
def test_clipping_ends_inside_and_changes_nothing_twice(boxes: Tensor, width: float, height: float) -> None:
    clipped = clip_boxes(boxes, width, height)
    assert (clipped >= 0).all()
    assert (clipped <= torch.tensor([width, height, width, height])).all()
    assert torch.equal(clip_boxes(clipped, width, height), clipped)
    inside = (boxes >= 0) & (boxes <= torch.tensor([width, height, width, height]))
    assert torch.equal(clipped[inside], boxes[inside])


@relaxed
@given(boxes_a=BOXES, boxes_b=BOXES)
def test_iou_is_symmetric_between_0_and_1_and_that_of_torchvision(boxes_a: Tensor, boxes_b: Tensor) -> None:
    iou = pairwise_iou(boxes_a, boxes_b)
    is_defined = ~iou.isnan()  # of two empty boxes it is not
    assert ((iou >= 0) & (iou <= 1 + 1e-5))[is_defined].all()
    torch.testing.assert_close(iou, pairwise_iou(boxes_b, boxes_a).T, equal_nan=True)
    torch.testing.assert_close(iou, box_iou(boxes_a, boxes_b), equal_nan=True, rtol=0, atol=0)


@relaxed
@given(
    rows=st.lists(st.tuples(*[st.floats(-1e9, 1e9)] * 4), max_size=8),
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
)
def test_boxes_that_are_kept_can_be_learnt(rows: list[tuple[float, ...]], size: tuple[int, int]) -> None:
    boxes = np.array(rows, dtype=np.float64).reshape(-1, 4)
    clipped, keep, problems = check_boxes(boxes, np.tile(size, (len(rows), 1)))
    kept = clipped[keep]
    assert ((kept >= 0) & (kept <= [*size, *size])).all()
    assert (kept[:, 2:] > kept[:, :2]).all()
    assert {row for row, problem in problems.items() if problem != CLIPPED} == set(np.flatnonzero(~keep).tolist())
    rest = [row for row in range(len(rows)) if row not in problems]
    assert np.abs(clipped[rest] - boxes[rest]).max(initial=0) < 1.001  # float32 rounds


def suppress(boxes: Tensor, labels: list[int], scores: list[int], threshold: float) -> list[int]:
    """Greedy suppression by its definition, in exact arithmetic of whole numbers."""
    kept: list[int] = []
    for i in sorted(range(len(labels)), key=lambda i: -scores[i]):
        x1, y1, x2, y2 = boxes[i].tolist()
        is_free = True
        for j in kept:
            if labels[j] != labels[i]:
                continue
            u1, v1, u2, v2 = boxes[j].tolist()
            overlap = max(min(x2, u2) - max(x1, u1), 0) * max(min(y2, v2) - max(y1, v1), 0)
            union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - overlap
            is_free &= not (union > 0 and overlap / union > threshold)
        if is_free:
            kept.append(i)
    return kept


@relaxed
@given(boxes=WHOLE_BOXES, threshold=st.sampled_from([0.0, 0.2, 0.45, 0.5, 0.75, 1.0]), data=st.data())
def test_suppression_is_that_of_the_definition(boxes: Tensor, threshold: float, data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.integers(0, 2), min_size=len(boxes), max_size=len(boxes)))
    scores = data.draw(st.permutations(range(len(boxes))))
    kept = class_wise_nms(boxes, torch.tensor(labels), torch.tensor(scores).float(), threshold)
    assert kept.tolist() == suppress(boxes, labels, scores, threshold)


@relaxed
@given(rows=st.lists(st.tuples(*[st.floats(width=32)] * 4), min_size=1, max_size=6), label=st.integers(0, 90))
def test_suppression_bears_boxes_that_are_not_finite(rows: list[tuple[float, ...]], label: int) -> None:
    boxes = torch.tensor(rows)
    scores = torch.arange(len(rows), 0, -1.0)
    kept = class_wise_nms(boxes, torch.full((len(rows),), label), scores, 0.45).tolist()
    assert kept[0] == 0
    assert kept == sorted(set(kept))
