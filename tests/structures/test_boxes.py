import torch
from hypothesis import given
from hypothesis import strategies as st

from ssd.structures.boxes import center_to_corner, clip_boxes, corner_to_center

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
