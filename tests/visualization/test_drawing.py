import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL.ImageColor import getrgb

from ssd.visualization import draw_detections
from ssd.visualization.palette import class_color

NAMES = ("__background__", "cat", "dog")


def blank(width: int = 160, height: int = 120) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def draw_one(box, score=None, names=NAMES, image=None) -> np.ndarray:
    """Draw a box of label 1."""
    scores = None if score is None else np.array([score])
    return draw_detections(blank() if image is None else image, np.array([box]), np.array([1]), scores, names)


def is_of_label(image: np.ndarray, label: int) -> np.ndarray:
    return (image == getrgb(class_color(label))).all(axis=-1)


def test_outline_lies_on_the_box_and_tag_above_it() -> None:
    image = blank(300, 300)
    drawn = draw_one([100, 150, 200, 250], 0.9, image=image)
    rows, columns = np.nonzero(is_of_label(drawn, 1))
    assert (columns.min(), columns.max(), rows.max()) == (100, 200, 250)
    assert 130 <= rows.min() < 148
    tag = drawn[rows.min() : 149, 100:150]
    assert (tag.sum(axis=-1) == 0).any()  # black letters
    assert is_of_label(drawn, 1)[150:251, [100, 200]].all()
    assert not image.any()


EMPTY = [[50, 50, 40, 60], [50, 60, 60, 50], [50, 50, 50, 60], [np.nan, 0, 9, 9], [-9, -9, -1, -1], [170, 0, 180, 9]]


@pytest.mark.parametrize("boxes", [np.zeros((0, 4)), *(np.array([box]) for box in EMPTY)])
def test_without_a_box_inside_the_image_stays_as_it_is(boxes: np.ndarray) -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    drawn = draw_detections(image, boxes, np.ones(len(boxes), np.int64), np.ones(len(boxes)), NAMES)
    np.testing.assert_array_equal(drawn, image)
    assert drawn is not image


def test_scores_stay_with_their_boxes_when_some_are_left_out() -> None:
    boxes = np.array([[9, 9, 2, 2], [20, 40, 60, 80], [90, 40, 130, 80]])
    labels, scores = np.array([1, 2, 1]), np.array([0.1, 0.9, 0.3])
    drawn = draw_detections(blank(), boxes, labels, scores, NAMES)
    expected = draw_detections(blank(), boxes[[2, 1]], labels[[2, 1]], scores[[2, 1]], NAMES)
    np.testing.assert_array_equal(drawn, expected)


def test_the_highest_score_lies_on_top_and_both_tags_are_seen() -> None:
    boxes = np.array([[20, 40, 120, 100], [20, 40, 120, 100]])
    for scores, top in (([0.9, 0.1], 1), ([0.1, 0.9], 2)):
        drawn = draw_detections(blank(), boxes, np.array([1, 2]), np.array(scores), NAMES)
        assert is_of_label(drawn, top)[60:101, 20].all()
        assert not is_of_label(drawn, 3 - top)[60:101, 20].any()
        assert is_of_label(drawn, top)[:40].sum() > 200 < is_of_label(drawn, 3 - top)[42:60].sum()


def test_name_number_and_score_make_different_tags() -> None:
    tags = [(None, None), (None, NAMES), (0.5, NAMES), (0.6, NAMES)]
    assert len({draw_one([20, 40, 120, 100], score, names).tobytes() for score, names in tags}) == len(tags)


@pytest.mark.parametrize("background", [0, 255])
def test_tag_does_not_depend_on_the_image_behind(background: int) -> None:
    drawn = draw_one([40, 60, 100, 100], 0.5, image=np.full((120, 160, 3), background, np.uint8))
    tag = drawn[47:60, 40:80]
    assert set(np.unique((tag == getrgb(class_color(1))).all(axis=-1)[[0, -1]])) == {True}
    assert 0.02 < (tag.max(axis=-1) < 64).mean() < 0.5


@pytest.mark.parametrize("box", [[0, 0, 4, 4], [155, 115, 160, 120], [-20, 50, 5, 60], [0, 0, 160, 120]])
def test_tag_stays_whole_at_the_border(box: list[int]) -> None:
    tags = [is_of_label(draw_one(place, 0.5), 1) for place in ([60, 60, 62, 62], box)]
    middle, at_border = (np.sort(rows.sum(axis=1))[-10:] for rows in tags)
    assert (at_border >= middle).all()


def test_outlines_of_any_class_differ_from_any_background() -> None:
    for label in range(1, 21):
        for grey in range(0, 256, 15):
            image = np.full((60, 60, 3), grey, np.uint8)
            drawn = draw_detections(image, np.array([[20, 30, 50, 55]]), np.array([label]))
            assert np.abs(drawn[45, 15:25].astype(int) - grey).max() > 75


def test_lines_and_letters_grow_with_the_image() -> None:
    def tag_height(width: int, height: int) -> int:
        drawn = draw_one([width // 4, height // 2, width // 2, height - 9], image=blank(width, height))
        return height // 2 - int(np.nonzero(drawn.any(axis=(1, 2)))[0].min())

    assert 10 <= tag_height(160, 120) <= 20
    assert 30 <= tag_height(1600, 1200) <= 60


coordinates = st.floats(-200, 400) | st.just(float("nan")) | st.just(float("inf"))


@settings(max_examples=60, deadline=None)
@given(
    boxes=st.lists(st.lists(coordinates, min_size=4, max_size=4), min_size=1, max_size=4),
    width=st.integers(1, 200),
    height=st.integers(1, 200),
)
def test_any_boxes_on_any_image(boxes: list[list[float]], width: int, height: int) -> None:
    labels, scores = np.ones(len(boxes), np.int64), np.linspace(0, 1, len(boxes))
    drawn = draw_detections(blank(width, height), np.array(boxes), labels, scores, NAMES)
    assert drawn.shape == (height, width, 3)
    assert drawn.dtype == np.uint8
