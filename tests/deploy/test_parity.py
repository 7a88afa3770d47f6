"""Comparing what two detectors find: pairs, ties, the cut, and what counts as another result."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd.deploy.parity import Cut, ParityCheck, agreement, compare_all, compare_image, match_close, match_overlapping
from ssd.inference.detections import Detections

CUT = Cut(score_threshold=0.01, max_per_image=100)
CLASSES = ("__background__", "apple", "pear")
Row = tuple[float, int, float]  # x1 of a box of 20 x 20 pixels, label, score


def make(*rows: Row, name: str = "image") -> Detections:
    return Detections(
        boxes=np.array([[x, 5, x + 20, 25] for x, _, _ in rows], np.float32).reshape(-1, 4),
        labels=np.array([label for _, label, _ in rows], np.int64),
        scores=np.array([score for _, _, score in rows], np.float32),
        class_names=CLASSES,
        orig_size=(640, 480),
        name=name,
    )


def test_differences_of_pairs() -> None:
    one, two = make((10, 1, 0.9), (50, 2, 0.6), name="street.jpg"), make((10.0625, 1, 0.9), (50, 2, 0.5996))
    parity = compare_image(one, two, CUT)
    assert (parity.name, parity.num_detections, parity.num_matched) == ("street.jpg", 2, 2)
    assert parity.box_difference == 0.0625
    assert parity.score_difference == pytest.approx(0.0004, abs=1e-6)
    assert (parity.num_missing, parity.num_extra, parity.top_score) == (0, 0, 0)
    assert parity.is_same


@pytest.mark.parametrize("other", [(10, 2, 0.9), (10.2, 1, 0.9), (10, 1, 0.902)], ids=["class", "box", "score"])
def test_detections_that_are_no_pair(other: Row) -> None:
    parity = compare_image(make((10, 1, 0.9), (50, 1, 0.5)), make(other, (50, 1, 0.5)), CUT)
    assert (parity.num_matched, parity.num_missing, parity.num_extra) == (1, 1, 1)
    assert parity.top_score == pytest.approx(max(0.9, other[2]))
    assert not parity.is_same


def test_ties_may_come_in_any_order() -> None:
    one = make((10, 1, 0.5), (50, 1, 0.5), (90, 2, 0.5))
    two = make((90, 2, 0.5), (50, 1, 0.5), (10, 1, 0.5))
    parity = compare_image(one, two, CUT)
    assert (parity.is_same, parity.num_matched, parity.box_difference) == (True, 3, 0)


def test_detections_at_the_cut_do_not_count() -> None:
    """The other's score of the last one was, by rounding, not above 0.01; rounding that pairs show widens the cut."""
    for score, other, is_same in ((0.0100005, 0.9, 1), (0.0102, 0.9, 0), (0.0104, 0.8995, 1), (0.0104, 0.9, 0)):
        parity = compare_image(make((10, 1, 0.9), (50, 1, score)), make((10, 1, other)), CUT)
        assert (parity.num_missing, parity.is_same) == (1 - is_same, is_same)


def test_the_cut_of_a_full_image_is_its_last_detection() -> None:
    """Three of equal score compete for the last two places."""
    cut = CUT._replace(max_per_image=3)
    one = make((10, 1, 0.9), (50, 1, 0.3), (90, 1, 0.3))
    two = make((10, 1, 0.9), (90, 1, 0.3), (130, 1, 0.3))
    parity = compare_image(one, two, cut)
    assert (parity.num_matched, parity.is_same) == (2, True)
    assert not compare_image(one, two, CUT).is_same  # with room left, both should have all three


def test_no_detections() -> None:
    none, one = make(), make((10, 1, 0.9))
    for pair, alone in (((none, one), (0, 1)), ((one, none), (1, 0)), ((none, none), (0, 0))):
        parity = compare_image(*pair, CUT)
        assert (parity.num_missing, parity.num_extra) == alone


def test_totals() -> None:
    ones = [make((10, 1, 0.9), (50, 1, 0.5), name="a"), make((10, 1, 0.9), name="b")]
    found = [make((10.03125, 1, 0.9), (50, 1, 0.5)), make((90, 1, 0.9))]
    parity = ParityCheck("model", 1, compare_all(ones, found, CUT))
    assert [image.name for image in parity.different] == ["b"]
    totals = parity.totals()
    assert totals.pop("score_difference") == 0
    assert totals == {"num_detections": 3, "num_matched": 2, "box_difference": 0.03125, "different": ["b"]}


def test_agreement() -> None:
    """Of 3 + 3 sure detections two pairs agree: IoU 1, and 15/25 = 0.6; a shift by 10 pixels has 1/3. One is unsure."""
    one = make((10, 1, 0.9), (50, 1, 0.8), (100, 1, 0.7), (150, 1, 0.4))
    two = make((10, 1, 0.6), (55, 1, 0.8), (110, 1, 0.7), (150, 1, 0.3))
    assert agreement([one], [two]) == pytest.approx(2 * 2 / 6)
    assert agreement([one, make()], [one, make((10, 1, 0.9))]) == pytest.approx(6 / 7)
    assert np.isnan(agreement([make((10, 1, 0.4))], [make()]))


def test_best_pairs_come_first() -> None:
    """The first box would do for both, but each has a better partner; then the best overlaps."""
    one, two = make((10.04, 1, 0.9), (10.0, 1, 0.9)), make((10.0, 1, 0.9), (10.05, 1, 0.9))
    rows, columns = match_close(one, two)
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])
    rows, columns = match_overlapping(make((10, 1, 0.9), (14, 1, 0.9)), make((14, 1, 0.9), (11, 2, 0.9), (16, 1, 0.9)))
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [2, 0])


ROWS = st.lists(
    st.tuples(st.integers(0, 30).map(lambda x: x * 20.0), st.sampled_from([1, 2]), st.sampled_from([0.2, 0.5, 0.9])),
    max_size=12,
    unique_by=lambda row: row[:2],
)


@settings(max_examples=50, deadline=None)
@given(ROWS, ROWS)
def test_pairs_are_the_common_detections(first: list[Row], second: list[Row]) -> None:
    """In any order of equal scores."""
    one, two = (sorted(rows, key=lambda row: -row[2]) for rows in (first, second))
    parity = compare_image(make(*one), make(*two), CUT)
    common = set(first) & set(second)
    assert parity.num_matched == len(common)
    assert (parity.num_missing, parity.num_extra) == (len(first) - len(common), len(second) - len(common))
