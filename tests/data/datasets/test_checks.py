"""Boxes that cannot be learnt."""

import logging

import numpy as np
import pytest

from ssd.data.datasets.checks import drop_bad_boxes


def test_boxes_are_clipped_or_dropped_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    boxes = np.array([[-2, 1, 5, 30], [5, 1, 4, 3], [5, 1, 5, 3], [10, 1, 12, 3], [1, np.nan, 3, 4]])
    with caplog.at_level(logging.WARNING):
        clipped, keep = drop_bad_boxes(
            boxes, np.tile([10, 20], (5, 1)), place="cells", describe=lambda row: f"box {row}"
        )
    assert clipped[0].tolist() == [0, 1, 5, 20]
    assert keep.tolist() == [True, False, False, False, False]
    assert "cells: 4 of 5 boxes dropped: box 1 is inverted; box 2 is of zero area; box 3 is outside" in caplog.text


def test_no_boxes() -> None:
    clipped, keep = drop_bad_boxes(np.zeros((0, 4)), np.zeros((0, 2)), place="cells", describe=str)
    assert (clipped.shape, keep.shape) == ((0, 4), (0,))
