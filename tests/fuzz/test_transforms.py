"""The augmentation of any image with any boxes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd.data.samplers import rng_at
from ssd.data.samples import resize_image
from ssd.data.transforms.geometry import (
    REDUCTIONS,
    GeometricDraw,
    GeometricSteps,
    draw_geometry,
    map_boxes,
    max_reduction,
    valid_area,
    warp_image,
)

SIDES = st.integers(1, 40)
RANGES = st.tuples(*[st.floats(0.05, 20)] * 2).map(sorted)
STEPS = st.builds(GeometricSteps, st.booleans(), st.booleans(), st.booleans())
STEPS |= st.builds(GeometricSteps, scale=RANGES, aspect=RANGES, shift=st.floats(0, 0.5))


def check_alignment(boxes: np.ndarray, mapped: np.ndarray, draw: GeometricDraw) -> None:
    """Map the results back: they must lie in the boxes that their labels name."""
    x1, y1, x2, y2 = draw.rect
    if draw.mirror:
        mapped = np.stack([1 - mapped[:, 2], mapped[:, 1], 1 - mapped[:, 0], mapped[:, 3]], axis=1)
    back = mapped * (x2 - x1, y2 - y1, x2 - x1, y2 - y1) + (x1, y1, x1, y1)
    slack = 1e-4 * max(x2 - x1, y2 - y1)
    assert (back[:, :2] >= boxes[:, :2] - slack).all()
    assert (back[:, 2:] <= boxes[:, 2:] + slack).all()


@settings(max_examples=150, deadline=None)
@given(
    width=SIDES,
    height=SIDES,
    size=st.tuples(SIDES, SIDES),
    relative=st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5),
    steps=STEPS,
    seed=st.integers(0, 2**40),
)
def test_what_is_drawn_shows_image_and_boxes_that_can_be_learnt(width, height, size, relative, steps, seed) -> None:
    points = np.array(relative, dtype=np.float32).reshape(-1, 2, 2) * np.float32([width, height])
    boxes, labels = points.reshape(-1, 4), np.arange(1, len(relative) + 1)  # some inverted, some empty
    draw = draw_geometry(width, height, boxes, rng_at(seed, seed), steps)
    x1, y1, x2, y2 = draw.rect
    assert x1 < x2
    assert y1 < y2
    mapped, kept = map_boxes(boxes, labels, draw)
    assert ((mapped >= 0) & (mapped <= 1)).all()
    assert (mapped[:, 2:] > mapped[:, :2]).all()
    assert (np.diff(kept) > 0).all()
    check_alignment(np.sort(points, axis=1).reshape(-1, 4)[kept - 1], mapped, draw)
    left, top, right, bottom = valid_area(width, height, draw, size).tolist()
    assert 0 <= left < right <= size[1] + 1e-3
    assert 0 <= top < bottom <= size[0] + 1e-3
    assert max_reduction(draw, size) in (1, *REDUCTIONS)
    image = np.full((height, width, 3), 200, np.uint8)
    warped = warp_image(image, draw, size)
    assert warped.shape == (*size, 3)
    assert (warped[int((top + bottom) / 2), int((left + right) / 2)] > 0).all()


@settings(max_examples=100, deadline=None)
@given(width=SIDES, height=SIDES, size=st.tuples(SIDES, SIDES), value=st.integers(0, 255))
def test_resizing_keeps_a_plain_image_plain(width, height, size, value) -> None:
    resized = resize_image(np.full((height, width, 3), value, np.uint8), size)
    assert resized.shape == (*size, 3)
    assert (resized == value).all()
