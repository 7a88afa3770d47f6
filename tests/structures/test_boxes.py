import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from ssd.structures.boxes import center_to_corner, clip_boxes, corner_to_center, pairwise_iou

numbers = st.floats(-1e3, 1e3, width=32)
box_lists = st.lists(st.lists(numbers, min_size=4, max_size=4), max_size=6)


def test_known_pair() -> None:
    corner = torch.tensor([[1.0, 2.0, 5.0, 10.0]])
    center = torch.tensor([[3.0, 6.0, 4.0, 8.0]])
    assert torch.equal(corner_to_center(corner), center)
    assert torch.equal(center_to_corner(center), corner)


@given(box_lists)
def test_round_trip_in_any_batch_shape(boxes: list[list[float]]) -> None:
    corner = torch.tensor(boxes, dtype=torch.float64).reshape(1, -1, 4)
    torch.testing.assert_close(center_to_corner(corner_to_center(corner)), corner)


def test_clip_by_hand() -> None:
    boxes = torch.tensor([[-5.0, -1.0, 400.0, 90.0], [10.0, 20.0, 30.0, 40.0], [310.0, 210.0, 320.0, 220.0]])
    expected = torch.tensor([[0.0, 0.0, 300.0, 90.0], [10.0, 20.0, 30.0, 40.0], [300.0, 200.0, 300.0, 200.0]])
    assert torch.equal(clip_boxes(boxes, 300, 200), expected)
    assert boxes[0, 0] == -5.0


@given(box_lists)
def test_clip_stays_inside_and_is_idempotent(boxes: list[list[float]]) -> None:
    clipped = clip_boxes(torch.tensor(boxes).reshape(-1, 4), 1, 2)
    assert (clipped >= 0).all()
    assert (clipped[:, 0::2] <= 1).all()
    assert (clipped[:, 1::2] <= 2).all()
    assert torch.equal(clip_boxes(clipped, 1, 2), clipped)


def test_no_boxes() -> None:
    empty = torch.zeros(0, 4)
    for result in (corner_to_center(empty), center_to_corner(empty), clip_boxes(empty, 1, 1)):
        assert result.shape == (0, 4)


def test_iou_by_hand() -> None:
    boxes_a = torch.tensor([[0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    boxes_b = torch.tensor([[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 2.0, 1.0], [5.0, 5.0, 6.0, 6.0]])
    # Overlap 1 of 4 + 4 - 1; 2 of 4 + 2 - 2; the same box.
    expected = torch.tensor([[1 / 7, 0.5, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(pairwise_iou(boxes_a, boxes_b), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_iou_is_torchvisions_to_the_last_bit(dtype: torch.dtype) -> None:
    boxes_a = torch.rand(3, 7, 2, 2, dtype=dtype).sort(dim=-2).values.flatten(-2)
    boxes_b = torch.rand(50, 2, 2, dtype=dtype).sort(dim=-2).values.flatten(-2)
    copies = boxes_a.clone(), boxes_b.clone()
    iou = pairwise_iou(boxes_a, boxes_b)
    assert iou.shape == (3, 7, 50)
    for image in range(3):
        assert torch.equal(iou[image], box_iou(boxes_a[image], boxes_b))
    assert torch.equal(boxes_a, copies[0])
    assert torch.equal(boxes_b, copies[1])


def test_iou_of_no_boxes() -> None:
    assert pairwise_iou(torch.zeros(2, 0, 4), torch.zeros(5, 4)).shape == (2, 0, 5)
